package barrier

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/store"
)

func found(keys ...store.Key) (f Finding) {
	for _, key := range keys {
		f.Skip(Corrupt(key, ErrBadName))
	}
	return f
}

// TestEachDamagedRecordIsLoggedOnce, even if several readers meet it again and
// again. Many damaged records at once do not fill the log.
func TestEachDamagedRecordIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, seen := observer.New(zapcore.InfoLevel)
		d := newDamage(zap.New(core))
		for range 3 {
			d.Report("bucket", found("bucket/a", "bucket/b"))
			d.Report(KeyRotation, found("bucket/b"))
			d.Met("bucket/a", Corrupt("bucket/a", ErrBadName))
		}
		if seen.Len() != 2 {
			t.Errorf("%d lines: %v", seen.Len(), seen.All())
		}
		if fields := seen.All()[0].ContextMap(); fields["record"] != "bucket/a" || fields["reason"] != "its name does not authenticate" {
			t.Errorf("%v", fields)
		}
		for i := range 10 * maxScopes {
			key := fmt.Sprintf("scope/%d", i)
			d.Report(key, found(key))
		}
		if n := seen.Len(); n > logBurst || len(d.scopes) > maxScopes {
			t.Errorf("%d lines, %d scopes", n, len(d.scopes))
		}
	})
}

func TestDamageIsForgottenWithTheNextReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDamage(zap.NewNop())
		folder := KeySecrets + "/aa/" + strings.Repeat("a", 32)
		d.Report(KeySecrets, found("x"))
		d.Report(folder, Finding{Foreign: 3})
		d.Met("secret", Corrupt("secret", errors.New("it does not open")))
		// A rotation met the same ones, and one more that has no reader.
		d.Report(KeyRotation, found("x", "secret", "piece"))
		if got := d.Summary(); got.Damaged != 3 || len(got.First) != 3 || got.Foreign != 3 || !d.Any() {
			t.Errorf("%+v", got)
		}
		d.Report(KeySecrets, Finding{})
		d.Report(KeyRotation, Finding{})
		d.Met("secret", store.ErrUnavailable) // says nothing about the record
		if got := d.Summary(); got.Damaged != 1 || got.First[0].Key != "secret" {
			t.Errorf("%+v", got)
		}
		d.Keep(func(key store.Key) bool { return key != folder })
		if got := d.Summary(); got.Foreign != 0 {
			t.Errorf("a folder that is gone: %+v", got)
		}
		time.Sleep(passing + time.Second)
		if got := d.Summary(); got.Damaged != 0 || d.Any() {
			t.Errorf("what nobody has read for an hour: %+v", got)
		}
		d.Met("secret", Corrupt("secret", nil))
		d.Met("secret", nil)
		if d.Any() {
			t.Error("what was read since is still damaged")
		}
	})
}

// TestOnlyNamesOfThisProgramAreItsOwn makes one of each kind, and spoils it.
func TestOnlyNamesOfThisProgramAreItsOwn(t *testing.T) {
	id := "91" + strings.Repeat("0a", 15)
	for key, want := range map[store.Key]bool{
		KeySecrets + "/91/" + id: true, KeySecrets + "/92/" + id: false, KeySecrets + "/91/" + id + "0": false,
		KeyDeleted + "/91/" + id: false, id: false, KeySecrets + "/91/91" + strings.Repeat("0A", 15): false,
	} {
		if got := IsFolderKey(KeySecrets, key, key[strings.LastIndexByte(key, '/')+1:]); got != want {
			t.Errorf("folder %s: %v", key, got)
		}
	}
	for name, want := range map[string]bool{"00": true, "fe": true, "FE": false, "0": false, "000": false, "": false, "zz": false} {
		if got := IsBucket(name); got != want {
			t.Errorf("bucket %q: %v", name, got)
		}
	}
	for name, want := range map[string]bool{
		"": false, "junk": false, strings.Repeat("A", 64): true, strings.Repeat("A", 63): false, strings.Repeat("A", 62) + "=": false,
		strings.Repeat("A", 63) + "+": false, strings.Repeat("A", 363): true, strings.Repeat("A", 406): false,
	} {
		if got := IsSecretName(name); got != want {
			t.Errorf("name of %d bytes %.70q: %v", len(name), name, got)
		}
	}
}
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
