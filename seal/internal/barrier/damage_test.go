package barrier

import (
	"errors"
	"testing"

	"go.uber.org/zap"
)

func TestARecordThatTwoReadersSkipCountsOnce(t *testing.T) {
	d := newDamage(zap.NewNop())
	bad := Corrupt(KeySecrets+"/aa/F/N", errors.New("bad"))
	var of Finding
	of.Skip(bad)
	of.Skip(Corrupt(KeySecrets+"/aa/F/M", errors.New("bad")))
	d.Report(KeySecrets+"/aa/F", of)
	d.Met(KeySecrets+"/aa/F/N", bad)
	if got := d.Summary(); got.Damaged != 2 || len(got.First) != 2 {
		t.Errorf("%+v", got)
	}
}
