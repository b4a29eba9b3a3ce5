package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/iam/authority"
	"secretstore/iam/iamtest"
	"secretstore/iam/oidc"
)

// TestASealedServerKeepsNoDirectory: that of the policy in force, which has all hashes.
func TestASealedServerKeepsNoDirectory(t *testing.T) {
	storage := iamtest.New()
	a, err := authority.New(authority.Config{Storage: storage, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	s := &Server{
		iam: a, oidc: oidc.New(oidc.Config{Accounts: a, Log: zap.NewNop()}),
		policy: &policy{file: &policyHolder{}, iam: a},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.forgetIdentities(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	s.policy.Policy()
	if s.policy.last.Load() == nil {
		t.Fatal("the policy is made anew for each decision")
	}
	storage.Seal(errors.New("sealed"))
	for late := time.Now().Add(time.Minute); s.policy.last.Load() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the directory is still in memory")
		}
	}
}
