package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/store"
	"secretstore/store/memory"
)

// These tests are about stores/default/config, which says who holds the unseal
// key: an attacker who can write to the storage must not decide that.

// threeHolders returns an unsealed store whose unseal key has three shares, two
// of which are needed, with a secret "a".
func threeHolders(t *testing.T, b store.Backend) (*Store, InitInfo) {
	t.Helper()
	s := open(t, b, false)
	info, err := s.Init(t.Context(), sameHolder(t, 3, 2))
	if err != nil {
		t.Fatal(err)
	}
	enter(t, s, info)
	if err := errOf(s.Create(t.Context(), path(t, "a"), text("v"))); err != nil {
		t.Fatal(err)
	}
	return s, info
}

// enter unseals with as many shares as are needed.
func enter(t *testing.T, s *Store, info InitInfo) {
	t.Helper()
	for _, share := range sharesOf(t, info.Keys) {
		if st, err := s.Unseal(t.Context(), []byte(share)); err != nil {
			t.Fatal(err)
		} else if !st.Sealed() {
			return
		}
	}
	t.Fatal("all shares were entered, and the store is sealed")
}

// asBytes returns fresh copies of shares, which the store clears.
func asBytes(shares []string) (out [][]byte) {
	for _, share := range shares {
		out = append(out, []byte(share))
	}
	return out
}

// record returns the data of a record.
func record(t *testing.T, b store.Backend, key store.Key) []byte {
	t.Helper()
	node, err := b.Get(t.Context(), key, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return node.Data
}

// edit changes members of a record in JSON; nil removes one.
func edit(t *testing.T, data []byte, changes map[string]any) []byte {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = value
		}
	}
	out, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// decidesNothing checks that the config in the storage allows no key decision on
// s, that s says so, and that s serves secrets all the same.
func decidesNothing(t *testing.T, s *Store, current []string) {
	t.Helper()
	ctx := t.Context()
	_, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(current)})
	wantErr(t, "StartRekey", err, ErrConfigNotGenuine)
	_, err = s.InitInfo(ctx)
	wantErr(t, "InitInfo", err, ErrConfigNotGenuine)
	if st := s.Status(); st.State != StateUnsealed || st.ConfigWarning == "" {
		t.Errorf("%+v; want it to be unsealed, with a warning", st)
	}
	if got, err := s.Get(ctx, path(t, "a"), store.Latest); err != nil || string(got.Value) != "v" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if err := errOf(s.Update(ctx, path(t, "a"), text("v"))); err != nil {
		t.Error(err)
	}
}

// TestWriterOfTheStorageCannotRekeyWithoutTheHolders has a superuser who can also
// write to the storage, and changes there who has to take part.
func TestWriterOfTheStorageCannotRekeyWithoutTheHolders(t *testing.T) {
	b := memory.New()
	s, info := threeHolders(t, b)
	other := open(t, b, false)
	enter(t, other, info)
	genuine := record(t, b, barrier.KeyConfig)

	// The attacker's own store, for shares that fit a config of the attacker's.
	mine := memory.New()
	attacker := open(t, mine, false)
	theirs, err := attacker.Init(t.Context(), sameHolder(t, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	var uuid struct{ UUID string }
	if err := json.Unmarshal(genuine, &uuid); err != nil {
		t.Fatal(err)
	}
	one := map[string]any{"shares": 1, "threshold": 1, "keys": theirs.Keys[:1], "pgp_fingerprints": theirs.Fingerprints[:1],
		"pgp_keys": []string{holderPublic(t)}}
	for name, forged := range map[string][]byte{
		"one holder":                edit(t, genuine, one),
		"one holder, no MAC":        edit(t, edit(t, genuine, one), map[string]any{"mac": nil, "generation": nil}),
		"no MAC":                    edit(t, genuine, map[string]any{"mac": nil}),
		"higher generation":         edit(t, genuine, map[string]any{"generation": 9}),
		"the attacker's holders":    edit(t, record(t, mine, barrier.KeyConfig), map[string]any{"uuid": uuid.UUID}),
		"same members, other bytes": edit(t, genuine, nil),
		"MAC of another store":      append(bytes.Clone(genuine[:len(genuine)-66]), record(t, mine, barrier.KeyConfig)[len(record(t, mine, barrier.KeyConfig))-66:]...),
	} {
		t.Run(name, func(t *testing.T) {
			put(t, b, barrier.KeyConfig, forged)
			decidesNothing(t, s, nil)
			decidesNothing(t, other, sharesOf(t, theirs.Keys))
			decidesNothing(t, s, sharesOf(t, info.Keys)[:2])
			put(t, b, barrier.KeyConfig, genuine)
			if err := lifecycle.Refresh(t.Context(), s.Lifecycle); err != nil || s.Status().ConfigWarning != "" {
				t.Fatalf("after the genuine record is back: %+v, %v", s.Status(), err)
			}
		})
	}
	begun := propose(t, s)
	if err := s.CancelRekey(t.Context(), begun.Nonce); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(sharesOf(t, info.Keys)[1:])}); err != nil {
		t.Errorf("with two shares: %v", err)
	}
}

// TestConfigFromBeforeARekeyAllowsNothing: a store with one holder is rekeyed to
// three, and the genuine old record is put back, alone and with the root record
// of its time, while servers run.
func TestConfigFromBeforeARekeyAllowsNothing(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		s, b, oldKey := unsealed(t)
		other := open(t, b, false)
		ctx := t.Context()
		if _, err := other.Unseal(ctx, []byte(oldKey)); err != nil {
			t.Fatal(err)
		}
		if err := errOf(s.Create(ctx, path(t, "a"), text("v"))); err != nil {
			t.Fatal(err)
		}
		old := dump(t, b)
		info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 3, 2), Rotate: rotate})
		if err != nil {
			t.Fatal(err)
		}
		fresh := sharesOf(t, info.Keys)
		for _, share := range fresh[:2] {
			if _, err := s.VerifyRekey(ctx, info.Nonce, []byte(share)); err != nil {
				t.Fatal(err)
			}
		}
		if err := lifecycle.Refresh(ctx, other.Lifecycle); err != nil {
			t.Fatal(err)
		}
		for _, at := range []*Store{s, other} {
			if st := at.Status(); st.State != StateUnsealed || st.Shares != 3 || st.ConfigWarning != "" {
				t.Fatalf("rotate %v, after the rekey: %+v", rotate, st)
			}
		}
		now := dump(t, b)
		for _, back := range [][]store.Key{{barrier.KeyConfig}, {barrier.KeyConfig, barrier.KeyRoot}} {
			for _, key := range back {
				put(t, b, key, old[key].Data)
			}
			for _, at := range []*Store{s, other} {
				decidesNothing(t, at, nil)
				decidesNothing(t, at, []string{oldKey})
			}
			for _, key := range back {
				put(t, b, key, now[key].Data)
			}
		}
		if _, err := s.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		// The old record and root open the store again, but the server remembers.
		if !rotate {
			put(t, b, barrier.KeyConfig, old[barrier.KeyConfig].Data)
			put(t, b, barrier.KeyRoot, old[barrier.KeyRoot].Data)
			if _, err := s.Unseal(ctx, []byte(oldKey)); err != nil {
				t.Fatal(err)
			}
			decidesNothing(t, s, nil)
			put(t, b, barrier.KeyConfig, edit(t, old[barrier.KeyConfig].Data, map[string]any{"mac": nil, "generation": nil}))
			if _, err := s.Seal(ctx, "root"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Unseal(ctx, []byte(oldKey)); err != nil {
				t.Fatal(err)
			}
			decidesNothing(t, s, nil)
		}
	}
}

// TestRekeyThatWasReplacedCannotBePutBack: the record of a rekey that came into
// force names holders who have been replaced since.
func TestRekeyThatWasReplacedCannotBePutBack(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	rekey := func() (RekeyInfo, []byte) {
		info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return info, record(t, b, barrier.KeyRekey)
	}
	first, old := rekey()
	if _, err := s.VerifyRekey(ctx, first.Nonce, []byte(sharesOf(t, first.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	second, _ := rekey()
	if _, err := s.VerifyRekey(ctx, second.Nonce, []byte(sharesOf(t, second.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	put(t, b, barrier.KeyRekey, old)
	_, err := s.VerifyRekey(ctx, first.Nonce, []byte(sharesOf(t, first.Keys)[0]))
	wantErr(t, "verify of an old rekey", err, ErrCorrupt)
	if err := s.CancelRekey(ctx, first.Nonce); err != nil {
		t.Error(err)
	}
}

// TestRekeyNeedsTheShareThatOpensTheStore: shares that fit the config prove
// nothing if they do not open the root record.
func TestRekeyNeedsTheShareThatOpensTheStore(t *testing.T) {
	b := memory.New()
	s, info := threeHolders(t, b)
	root := record(t, b, barrier.KeyRoot)
	stranger, _, _ := unsealed(t)
	put(t, b, barrier.KeyRoot, record(t, stranger.backend, barrier.KeyRoot))
	_, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(sharesOf(t, info.Keys))})
	wantErr(t, "StartRekey over another root record", err, ErrWrongKey)
	put(t, b, barrier.KeyRoot, root)
	if _, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(sharesOf(t, info.Keys))}); err != nil {
		t.Error(err)
	}
}

// asOldRelease turns the config into one that a release without MACs wrote.
func asOldRelease(t *testing.T, b store.Backend) {
	t.Helper()
	put(t, b, barrier.KeyConfig, edit(t, record(t, b, barrier.KeyConfig), map[string]any{"mac": nil, "generation": nil}))
}

func TestUnsealAddsTheMACThatAnOldStoreLacks(t *testing.T) {
	b := memory.New()
	first, info := threeHolders(t, b)
	if _, err := first.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	asOldRelease(t, b)
	s, other := open(t, b, false), open(t, b, false)
	for _, at := range []*Store{s, other} {
		enter(t, at, info)
		if st := at.Status(); st.ConfigWarning != "" {
			t.Errorf("%+v", st)
		}
	}
	if _, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(sharesOf(t, info.Keys)[:2])}); err != nil {
		t.Error(err)
	}
}

// refuseConfig is a faulty.apply for a storage that takes no write of the config.
var refuseConfig = func(ops []store.Op) (bool, error) {
	for _, op := range ops {
		if op.Key == barrier.KeyConfig && op.Data != nil {
			return false, store.ErrUnavailable
		}
	}
	return true, nil
}

// TestUnsealDoesNotFailIfTheMACCannotBeWritten: the server unseals, says what is
// missing, and adds it when it can.
func TestUnsealDoesNotFailIfTheMACCannotBeWritten(t *testing.T) {
	t.Parallel() // waits for the server to retry
	f := &faulty{Backend: memory.New()}
	first, info := threeHolders(t, f)
	first.Close()
	asOldRelease(t, f)
	f.apply.Store(&refuseConfig)
	s := open(t, f, false)
	enter(t, s, info)
	if st := s.Status(); st.Sealed() || st.ConfigWarning == "" {
		t.Fatalf("%+v; want it to be unsealed, with a warning", st)
	}
	if _, err := s.InitInfo(t.Context()); err != nil {
		t.Error(err) // other servers may still have to be unsealed
	}
	_, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(sharesOf(t, info.Keys))})
	wantErr(t, "StartRekey", err, ErrConfigNotGenuine)
	f.apply.Store(nil)
	for deadline := time.Now().Add(time.Minute); s.Status().ConfigWarning != ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", s.Status())
		}
	}
	if !bytes.Contains(record(t, f, barrier.KeyConfig), []byte(`"mac":"`)) {
		t.Error("no MAC was written")
	}
}

// TestMACIsAddedOnlyToTheConfigOfAnUnseal: a record that was changed after the
// unseal gets none.
func TestMACIsAddedOnlyToTheConfigOfAnUnseal(t *testing.T) {
	f := &faulty{Backend: memory.New()}
	first, info := threeHolders(t, f)
	first.Close()
	asOldRelease(t, f)
	f.apply.Store(&refuseConfig)
	s := open(t, f, false)
	enter(t, s, info)
	changed := edit(t, record(t, f, barrier.KeyConfig), map[string]any{"created": time.Now()})
	put(t, f.Backend, barrier.KeyConfig, changed)
	f.apply.Store(nil)
	for range 3 {
		if err := lifecycle.Refresh(t.Context(), s.Lifecycle); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(record(t, f, barrier.KeyConfig), changed) {
		t.Error("a MAC was added to a record that no unseal has used")
	}
	decidesNothing(t, s, sharesOf(t, info.Keys))
}

// changedConfig returns other data for the config, under the version that the
// record has: in ZooKeeper, a record that is made anew can reach any version.
type changedConfig struct {
	store.Backend
	data atomic.Pointer[[]byte]
}

func (c *changedConfig) Get(ctx context.Context, key store.Key, how store.Consistency) (store.Node, error) {
	node, err := c.Backend.Get(ctx, key, how)
	if data := c.data.Load(); data != nil && key == barrier.KeyConfig && err == nil {
		node.Data = *data
	}
	return node, err
}

func TestInitIsNotReplacedOverAChangedConfig(t *testing.T) {
	b := &changedConfig{Backend: memory.New()}
	s, _, again := justInitialized(t, b)
	config := record(t, b, barrier.KeyConfig)
	for _, forged := range [][]byte{
		edit(t, config, map[string]any{"mac": nil}),
		edit(t, config, map[string]any{"threshold": 1, "commitments": []string{"00"}}),
	} {
		b.data.Store(&forged)
		_, err := s.Init(t.Context(), again)
		wantErr(t, "Init", err, ErrNotReplaceable)
	}
	b.data.Store(nil)
	if _, err := s.Init(t.Context(), again); err != nil {
		t.Error(err)
	}
}

// TestConfigThatHasLostItsMACLetsNoOlderOneIn: an attacker removes the MAC before
// a restart, so that the next unseal adds one, and then puts back a genuine
// record, or rekey, from before.
func TestConfigThatHasLostItsMACLetsNoOlderOneIn(t *testing.T) {
	for name, written := range map[string]bool{"the MAC is added": true, "the MAC cannot be written": false} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{Backend: memory.New()}
			s, _ := unsealedOn(t, f)
			ctx := t.Context()
			if err := errOf(s.Create(ctx, path(t, "a"), text("v"))); err != nil {
				t.Fatal(err)
			}
			oldConfig := record(t, f, barrier.KeyConfig)
			info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 3, 2)})
			if err != nil {
				t.Fatal(err)
			}
			oldRekey := record(t, f, barrier.KeyRekey)
			shares := sharesOf(t, info.Keys)
			for _, share := range shares[:2] {
				if _, err := s.VerifyRekey(ctx, info.Nonce, []byte(share)); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			asOldRelease(t, f)
			if !written {
				f.apply.Store(&refuseConfig)
			}
			again := open(t, f, false)
			for _, share := range shares[:2] {
				if _, err := again.Unseal(ctx, []byte(share)); err != nil {
					t.Fatal(err)
				}
			}
			f.apply.Store(nil)
			present := record(t, f, barrier.KeyConfig)
			put(t, f.Backend, barrier.KeyConfig, oldConfig)
			decidesNothing(t, again, nil)
			put(t, f.Backend, barrier.KeyConfig, present)
			if err := lifecycle.Refresh(ctx, again.Lifecycle); err != nil || again.Status().ConfigWarning != "" {
				t.Fatalf("after the present record is back: %+v, %v", again.Status(), err)
			}
			put(t, f.Backend, barrier.KeyRekey, oldRekey)
			_, err = again.VerifyRekey(ctx, info.Nonce, []byte(shares[0]))
			wantErr(t, "verify of a rekey from before", err, ErrCorrupt)
		})
	}
}
