//go:build long

package authority_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/password"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

func TestManySignInsAtOnceLeaveTheReadersAlone(t *testing.T) {
	st := open(t, memory.New())
	a := onStore(t, st, password.Rounds)
	path, err := acl.ParsePath("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Create(t.Context(), path, seal.Change{Kind: seal.Text, Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	const people = 64
	for i := range people {
		addUser(t, a, iam.User{UID: iam.UID(fmt.Sprintf("u%d", i)), Hash: cheapHash})
	}
	done := make(chan struct{})
	var readers, signing sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				if got, err := st.Get(t.Context(), path, store.Latest); err != nil || string(got.Value) != "value" {
					t.Errorf("%q, %v", got.Value, err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range people {
		signing.Go(func() {
			var busy *authority.Busy
			for {
				_, err := signIn(t, a, fmt.Sprintf("u%d", i), correct)
				if errors.As(err, &busy) {
					continue
				}
				if err != nil {
					t.Errorf("u%d: %v", i, err)
				}
				return
			}
		})
	}
	signing.Wait()
	close(done)
	readers.Wait()
}
