package oidc_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/oauth2"

	"secretstore/iam"
	"secretstore/iam/iamtest"
	"secretstore/iam/oidc"
)

// finishFor ends a sign-in for a program that has the verifier.
func finishFor(t *testing.T, s *server, verifier string) oidc.Finished {
	t.Helper()
	target, err := oidc.ParseTarget("http://127.0.0.1:8000/x", oauth2.S256ChallengeFromVerifier(verifier))
	if err != nil {
		t.Fatal(err)
	}
	where, cookie, err := s.Start(t.Context(), "corp", target)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(where, verifier) {
		t.Error("the provider learns the verifier")
	}
	done, err := s.Finish(t.Context(), cookie, visit(t, where), elsewhere())
	if err != nil || done.Code == "" || done.Target != target {
		t.Fatal(done, err)
	}
	return done
}

func TestProgramThatBeganASignInGetsItOnceFromAnyServer(t *testing.T) {
	m := runMock(t)
	clock := newClock()
	var cluster iamtest.Cluster
	a, b := newServer(t, &cluster, anyone, clock), newServer(t, &cluster, anyone, clock)
	a.add(t, "corp", m)
	verifier := oauth2.GenerateVerifier()
	done := finishFor(t, a, verifier)
	for name, try := range map[string]struct{ code, verifier string }{
		"another verifier":    {done.Code, oauth2.GenerateVerifier()},
		"no verifier":         {done.Code, ""},
		"a short one":         {done.Code, "x"},
		"the challenge":       {done.Code, done.Target.Challenge},
		"a changed code":      {done.Code[:len(done.Code)-2] + "AA", verifier},
		"no code":             {"", verifier},
		"a long code":         {strings.Repeat("A", 1<<20), verifier},
		"not base64":          {"!", verifier},
		"a state, not a code": {stateOf(t, a), verifier},
	} {
		_, err := b.Exchange(try.code, try.verifier)
		refused(t, name, err)
	}
	if who, err := b.Exchange(done.Code, verifier); err != nil || who != done.Who {
		t.Fatal(who, err)
	}
	_, err := b.Exchange(done.Code, verifier)
	refused(t, "the second time", err)

	done = finishFor(t, a, verifier)
	clock.add(oidc.CodeLife)
	_, err = b.Exchange(done.Code, verifier)
	refused(t, "after a minute", err)
	if n := b.UsedCodes(); n != 1 {
		t.Errorf("%d used codes", n)
	}
	done = finishFor(t, a, verifier)
	if _, err := b.Exchange(done.Code, verifier); err != nil {
		t.Fatal(err)
	}
	if n := b.UsedCodes(); n != 1 {
		t.Errorf("%d used codes: expired ones are kept", n)
	}
}

func TestCodeIsExchangedOnceByManyAtOnce(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	s.add(t, "corp", m)
	verifier := oauth2.GenerateVerifier()
	done := finishFor(t, s, verifier)
	var good atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := s.Exchange(done.Code, verifier); err == nil {
				good.Add(1)
			}
		})
	}
	all.Wait()
	if good.Load() != 1 {
		t.Errorf("exchanged %d times", good.Load())
	}
}

// A cookie with a state must not pass for a code, though the same key encrypts both.
func stateOf(t *testing.T, s *server) string {
	t.Helper()
	_, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

func TestCodeIsForTheAccountAsItWas(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	s.add(t, "corp", m)
	verifier := oauth2.GenerateVerifier()
	done := finishFor(t, s, verifier)
	if err := s.accounts.Change(t.Context(), func(d *iam.Directory) (iam.Change, error) { return d.RevokeTokens(done.Who.UID) }); err != nil {
		t.Fatal(err)
	}
	who, err := s.Exchange(done.Code, verifier)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.accounts.Directory()
	if err != nil {
		t.Fatal(err)
	}
	// Package tokens compares the two.
	if now, ok := d.Identity(who.UID); !ok || now == who {
		t.Errorf("the account is %v, the code for %v", now, who)
	}
}

func FuzzSealedText(f *testing.F) {
	key := oidc.NewStateKey()
	good, err := oidc.SealCode(key, "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key, good)
	f.Add(key, "")
	f.Add([]byte{1}, good)
	f.Fuzz(func(t *testing.T, record []byte, sealed string) {
		if id, err := oidc.OpenCode(record, sealed); err == nil && (sealed != good || id != "x") {
			t.Errorf("%q opens as %q", sealed, id)
		}
		if oidc.OpenState(record, sealed, "", epoch) {
			t.Errorf("%q is a state", sealed)
		}
	})
}
