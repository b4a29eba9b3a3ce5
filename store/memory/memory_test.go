package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
	"secretstore/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClosingOneBackendLeavesTheOthersOnTheSameRecords(t *testing.T) {
	a := memory.New()
	b := a.Attach()
	defer b.Close()
	if _, err := a.Apply(t.Context(), store.Create("k", []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Get(t.Context(), "k", store.Latest); err != nil || string(n.Data) != "v" {
		t.Errorf("got %q, %v", n.Data, err)
	}
}
