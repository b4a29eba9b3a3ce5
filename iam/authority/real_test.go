package authority_test

import (
	"testing"

	"go.uber.org/zap/zaptest"

	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store"
)

// open opens a store on a backend, which is unsealed by its bootstrap key.
func open(t *testing.T, b store.Backend) *seal.Store {
	t.Helper()
	st, err := seal.Open(t.Context(), seal.Options{
		Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Mode: seal.ModeDisabled,
		MaxSecretSize: 1 << 20, Log: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// onStore starts the IAM on a store, and waits until it is loaded and set up.
func onStore(t *testing.T, st *seal.Store, rounds int) *authority.Authority {
	t.Helper()
	a, err := authority.New(authority.Config{Storage: st.Identities(), Log: zaptest.NewLogger(t), Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	await(t, a, func(d *iam.Directory) bool {
		_, err := d.Group(iam.Superusers)
		return err == nil
	})
	return a
}
