package bolt_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A goroutine that ends a read while another meets a fault inside bbolt
		// waits forever for bbolt's lock. No caller waits for that goroutine.
		goleak.IgnoreAnyFunction("go.etcd.io/bbolt.(*DB).removeTx"),
	)
}

func open(t *testing.T) store.Backend {
	return openAt(t, filepath.Join(t.TempDir(), "secrets.db"))
}

func openAt(t testing.TB, path string) *bolt.Backend {
	t.Helper()
	b, err := bolt.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBoltKeepsTheContract(t *testing.T) { storetest.Run(t, open) }

func TestBoltAgreesWithTheModel(t *testing.T) { storetest.RunModel(t, open) }
