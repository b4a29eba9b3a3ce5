package seal

import (
	"errors"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/store"
	"secretstore/store/memory"
)

// justInitialized returns a server that has just initialized a store with two
// shares, both the test holder's, and the parameters that replace this init.
func justInitialized(t *testing.T, b store.Backend) (*Store, InitInfo, InitParams) {
	t.Helper()
	s := open(t, b, false)
	p := sameHolder(t, 2, 2)
	p.By = "root"
	info, err := s.Init(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	again := sameHolder(t, 1, 1)
	again.By, again.Replace = "root", info.Keys[0]
	return s, info, again
}

func TestInitCanBeReplacedUntilTheFirstUnseal(t *testing.T) {
	b := memory.New()
	s, first, again := justInitialized(t, b)
	other := open(t, b, false)
	ctx := t.Context()
	for _, at := range []*Store{s, other} {
		if st, err := at.Unseal(ctx, []byte(sharesOf(t, first.Keys)[0])); err != nil || st.Progress != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	uuid := s.Status().UUID
	second, err := s.Init(ctx, again)
	if err != nil {
		t.Fatal(err)
	}
	again.Replace = second.Keys[0]
	third, err := s.Init(ctx, again) // and a second time
	if err != nil {
		t.Fatal(err)
	}
	if err := lifecycle.Refresh(ctx, other.Lifecycle); err != nil {
		t.Fatal(err)
	}
	for _, at := range []*Store{s, other, open(t, b, false)} {
		if st := at.Status(); st.UUID != uuid || st.State != StateSealed || st.Shares != 1 || st.Progress != 0 {
			t.Fatalf("after the replacement: %+v", st)
		}
		_, err := at.Unseal(ctx, []byte(sharesOf(t, first.Keys)[1]))
		wantErr(t, "a share of the first init", err, ErrBadKey)
		_, err = at.Unseal(ctx, []byte(sharesOf(t, second.Keys)[0]))
		wantErr(t, "the key of the second init", err, ErrWrongKey)
		if st, err := at.Unseal(ctx, []byte(sharesOf(t, third.Keys)[0])); err != nil || st.State != StateUnsealed {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	if err := errOf(s.Create(ctx, path(t, "a"), text("v"))); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Get(ctx, path(t, "a"), store.Latest); err != nil || string(got.Value) != "v" {
		t.Errorf("%v", err)
	}
}

// TestInitInUseIsNotReplaced checks that each case leaves the keys unchanged.
func TestInitInUseIsNotReplaced(t *testing.T) {
	unseal := func(t *testing.T, at *Store, info InitInfo) {
		for _, share := range sharesOf(t, info.Keys) {
			if _, err := at.Unseal(t.Context(), []byte(share)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, prepare := range map[string]func(t *testing.T, s *Store, b store.Backend, info InitInfo, p *InitParams) *Store{
		"another principal": func(_ *testing.T, s *Store, _ store.Backend, _ InitInfo, p *InitParams) *Store {
			p.By = "mallory"
			return s
		},
		"another init": func(_ *testing.T, s *Store, _ store.Backend, info InitInfo, p *InitParams) *Store {
			p.Replace = info.Keys[1]
			return s
		},
		"another server": func(t *testing.T, _ *Store, b store.Backend, _ InitInfo, _ *InitParams) *Store {
			return open(t, b, false)
		},
		"unsealed here": func(t *testing.T, s *Store, _ store.Backend, info InitInfo, _ *InitParams) *Store {
			unseal(t, s, info)
			return s
		},
		"unsealed and sealed here": func(t *testing.T, s *Store, _ store.Backend, info InitInfo, _ *InitParams) *Store {
			unseal(t, s, info)
			if _, err := s.Seal(t.Context(), "root"); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"unsealed elsewhere, with a secret": func(t *testing.T, s *Store, b store.Backend, info InitInfo, _ *InitParams) *Store {
			other := open(t, b, false)
			unseal(t, other, info)
			if err := errOf(other.Create(t.Context(), path(t, "a"), text("v"))); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"unsealed elsewhere, and sealed by another intent": func(t *testing.T, s *Store, b store.Backend, info InitInfo, _ *InitParams) *Store {
			before, err := b.Get(t.Context(), barrier.KeyIntent, store.Latest)
			if err != nil {
				t.Fatal(err)
			}
			unseal(t, open(t, b, false), info)
			put(t, b, barrier.KeyIntent, before.Data) // the intent written by Init
			return s
		},
		"storage holds another record": func(t *testing.T, s *Store, b store.Backend, _ InitInfo, _ *InitParams) *Store {
			put(t, b, barrier.KeySecrets+"/00/f", []byte("x"))
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := memory.New()
			s, info, again := justInitialized(t, b)
			at := prepare(t, s, b, info, &again)
			before := dump(t, b)
			_, err := at.Init(t.Context(), again)
			wantErr(t, "Init", err, ErrNotReplaceable)
			for _, key := range []store.Key{barrier.KeyConfig, barrier.KeyRoot, barrier.KeyKeyring, barrier.KeyIntent} {
				if after := dump(t, b)[key]; after.Version != before[key].Version {
					t.Errorf("%s was written", key)
				}
			}
		})
	}
	empty := open(t, memory.New(), false)
	p := sameHolder(t, 1, 1)
	p.Replace = "00"
	_, err := empty.Init(t.Context(), p)
	wantErr(t, "on an empty storage", err, ErrNotReplaceable)
}

// TestEitherUnsealOrReplacementWins runs an unseal on another server concurrently
// with a replacement. Exactly one succeeds, and the keys it returned or used
// unseal the store afterwards.
func TestEitherUnsealOrReplacementWins(t *testing.T) {
	for range 20 {
		b := memory.New()
		s, info, again := justInitialized(t, b)
		other := open(t, b, false)
		all := sharesOf(t, info.Keys)
		if _, err := other.Unseal(t.Context(), []byte(all[0])); err != nil {
			t.Fatal(err)
		}
		unsealed := make(chan error)
		go func() {
			_, err := other.Unseal(t.Context(), []byte(all[1]))
			unsealed <- err
		}()
		replaced, err := s.Init(t.Context(), again)
		unsealErr := <-unsealed
		if (err == nil) == (unsealErr == nil) {
			t.Fatalf("replaced: %v, unsealed: %v", err, unsealErr)
		}
		if err != nil && !errors.Is(err, ErrNotReplaceable) {
			t.Fatal(err)
		}
		restarted := open(t, b, false)
		keys := all
		if err == nil {
			keys = sharesOf(t, replaced.Keys)
		}
		for _, key := range keys {
			if _, err := restarted.Unseal(t.Context(), []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		if st := restarted.Status(); st.State != StateUnsealed {
			t.Fatalf("%+v", st)
		}
		restarted.Close()
		other.Close()
		s.Close()
	}
}

func TestCrashDuringReplacementLeavesOneInitOrTheOther(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		b := memory.New()
		f := &faulty{Backend: b}
		s, info, again := justInitialized(t, f)
		fail := func([]store.Op) (bool, error) { return persisted, store.ErrOutcomeUnknown }
		f.apply.Store(&fail)
		_, err := s.Init(t.Context(), again)
		wantErr(t, "Init", err, store.ErrOutcomeUnknown)
		restarted := open(t, b, false)
		now, err := restarted.InitInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if replaced := now.Keys[0] != info.Keys[0]; replaced != persisted {
			t.Errorf("persisted=%v: replaced=%v", persisted, replaced)
		}
		for _, share := range sharesOf(t, now.Keys) {
			if _, err := restarted.Unseal(t.Context(), []byte(share)); err != nil {
				t.Fatal(err)
			}
		}
		if st := restarted.Status(); st.State != StateUnsealed {
			t.Errorf("persisted=%v: %+v", persisted, st)
		}
	}
}
