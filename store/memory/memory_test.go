package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
	"secretstore/store/memory"
	"secretstore/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(*testing.T) store.Backend { return memory.New() }

func TestMemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, open, storetest.Second(func(_ *testing.T, first store.Backend) store.Backend {
		return first.(*memory.Backend).Attach()
	}))
}

// The model beside itself: this tests the test, and that one Backend bears the
// liberties that RunModel grants.
func TestMemoryIsItsOwnModel(t *testing.T) { storetest.RunModel(t, open) }
