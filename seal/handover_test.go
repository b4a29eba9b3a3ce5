package seal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/handover"
	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// awaitRecipients waits until a new root key of s would reach n servers, itself
// included.
func awaitRecipients(t *testing.T, s *Store, n int) Peers {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		found, err := s.Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(found.Recipients) == n {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d recipients are wanted: %+v", n, found)
		}
	}
}

// openNamed opens a store for a server of this name, and returns what it logs as
// warnings.
func openNamed(t *testing.T, b store.Backend, name string, nodes func(context.Context) ([]Server, error)) (*Store, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s, err := Open(t.Context(), Options{Backend: b, Self: Server{Name: name}, Nodes: nodes, GenerateKey: sealtest.GenerateKey, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, logs
}

func namesOf(peers []Peer) []string {
	var all []string
	for _, p := range peers {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return all
}

// announceAs puts an announcement beside those of servers, as an attacker can.
func announceAs(t *testing.T, b *memory.Backend, id string, data []byte) {
	t.Helper()
	content := make(chan []byte)
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		if err := b.Announce(t.Context(), id, content); err != nil {
			t.Error(err)
		}
	}()
	content <- data
}

// rotateRoot gives the store another unseal key, of one holder, and another root
// key.
func rotateRoot(t *testing.T, s *Store, leaveOut bool) (key string, done RekeyInfo, err error) {
	t.Helper()
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true, LeaveOut: leaveOut})
	if err != nil {
		return "", RekeyInfo{}, err
	}
	key = sharesOf(t, info.Keys)[0]
	done, err = s.VerifyRekey(t.Context(), info.Nonce, []byte(key))
	return key, done, err
}

func TestNewRootKeyReachesAllUnsealedServers(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	a, key := unsealedOn(t, b)
	var others []*Store
	for _, name := range []string{"two", "three"} {
		s, _ := openNamed(t, b, name, nil)
		if _, err := s.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
		others = append(others, s)
	}
	sealed, _ := openNamed(t, b, "four", nil)
	before := announcedKeys(t, b)
	for round := range 3 { // each handover needs keys that were announced after the last
		awaitRecipients(t, a, 3)
		var done RekeyInfo
		var err error
		if key, done, err = rotateRoot(t, a, false); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := namesOf(done.Peers.Recipients); !slices.Equal(got, []string{"three", "two", "unknown"}) || len(done.Peers.LeftOut) != 0 ||
			!slices.Equal(namesOf(done.Peers.Sealed), []string{"four"}) {
			t.Errorf("round %d: %+v", round, done.Peers)
		}
		for i, s := range others {
			if err := lifecycle.Refresh(ctx, s.Lifecycle); err != nil || s.Status().State != StateUnsealed {
				t.Fatalf("round %d, server %d: %+v, %v", round, i, s.Status(), err)
			}
		}
		settleRotation(t, a)
	}
	awaitRecipients(t, a, 3)
	for id, public := range announcedKeys(t, b) {
		if public != "" && public == before[id] {
			t.Errorf("server %s has announced the same key before and after a handover", id)
		}
	}
	if st, err := sealed.Unseal(ctx, []byte(key)); err != nil || st.State != StateUnsealed {
		t.Errorf("the server that was sealed: %+v, %v", st, err)
	}
}

// announcedKeys returns the public keys in the storage, by server.
func announcedKeys(t *testing.T, b *memory.Backend) map[string]string {
	t.Helper()
	all, err := b.Announcements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for _, a := range all {
		content, err := handover.Parse(a.Data)
		if err != nil {
			t.Fatal(err)
		}
		keys[a.ID] = content.Key
	}
	return keys
}

const (
	foreignID = "000000000000000000000000000000f0"
	brokenID  = "000000000000000000000000000000f1"
	oldID     = "000000000000000000000000000000f2"
)

// TestRotationLeavesOutNoServerUnasked: a live server that a new root key would not
// reach stops the rotation, also at its end, unless the operator leaves it out.
func TestRotationLeavesOutNoServerUnasked(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	_, key := unsealedOn(t, b)
	var old []Server
	a, _ := openNamed(t, b, "one", func(context.Context) ([]Server, error) { return old, nil })
	if _, err := a.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	awaitRecipients(t, a, 2)
	info, err := a.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(namesOf(info.Peers.Recipients), []string{"one", "unknown"}) {
		t.Errorf("%+v", info.Peers)
	}
	share := sharesOf(t, info.Keys)[0]

	old = []Server{{ID: oldID, Name: "of-an-older-release"}}
	announceAs(t, b, foreignID, handover.Unsealed(a.Status().UUID, foreignID, "with another root key", envelope.NewKey(), handover.NewKey()))
	announceAs(t, b, brokenID, []byte("junk"))
	_, err = a.VerifyRekey(ctx, info.Nonce, []byte(share))
	var refused *LeftOutError
	if !errors.As(err, &refused) || len(refused.LeftOut) != 3 || len(refused.Recipients) != 2 {
		t.Fatalf("verify: %v", err)
	}
	for _, p := range refused.LeftOut {
		if p.Problem == "" {
			t.Errorf("no reason: %+v", p)
		}
	}
	if again, err := a.RekeyStatus(ctx); err != nil || !again.Active || again.Nonce != info.Nonce {
		t.Errorf("after the refusal: %+v, %v", again, err)
	}
	if err := a.CancelRekey(ctx, info.Nonce); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rotateRoot(t, a, false); !errors.As(err, &refused) {
		t.Errorf("start: %v", err)
	}
	if again, err := a.RekeyStatus(ctx); err != nil || again.Active {
		t.Errorf("a refused rekey has begun: %+v, %v", again, err)
	}
	_, done, err := rotateRoot(t, a, true)
	if err != nil || len(done.Peers.LeftOut) != 3 || done.Active {
		t.Errorf("with leave: %+v, %v", done, err)
	}
	// A rekey without a new root key leaves out nobody. It stops only beside an
	// earlier release, see TestNoKeyIsChangedBesideAnEarlierRelease.
	old = nil
	if _, err := a.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)}); err != nil {
		t.Error(err)
	}
}

// unannounced is a backend on which nothing is announced: what is written there never
// arrives.
type unannounced struct{ *memory.Backend }

func (unannounced) Announce(ctx context.Context, _ string, content <-chan []byte) error {
	for {
		select {
		case <-content:
		case <-ctx.Done():
			return nil
		}
	}
}

// TestServerThatMissesAHandoverSealsAndSaysWhy: it was unsealed, or came back,
// while the root key was replaced.
func TestServerThatMissesAHandoverSealsAndSaysWhy(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	a, key := unsealedOn(t, b)
	recipient, _ := openNamed(t, b, "recipient", nil)
	late, logs := openNamed(t, unannounced{b}, "late", nil)
	for _, s := range []*Store{recipient, late} {
		if _, err := s.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	awaitRecipients(t, a, 2)
	if _, _, err := rotateRoot(t, a, false); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[*Store]State{a: StateUnsealed, recipient: StateUnsealed, late: StateSealed} {
		if err := lifecycle.Refresh(ctx, s.Lifecycle); err != nil || s.Status().State != want {
			t.Errorf("%+v, %v, want %s", s.Status(), err, want)
		}
	}
	const reason = "the root key was replaced, and the new one was not handed over to this server: it was unsealed or " +
		"connected again at that time, or was left out; restart it, and unseal it with the new unseal key"
	if entries := logs.FilterMessage("sealed").All(); len(entries) != 1 || entries[0].ContextMap()["reason"] != reason {
		t.Errorf("%+v", logs.All())
	}
	if warning := late.Status().SealWarning; warning != reason {
		t.Errorf("status says %q", warning)
	}
}

// TestAnnouncementOfALeaverIsListed: someone who has the root key, and writes to
// the storage before a rotation, is a recipient. People see it.
func TestAnnouncementOfALeaverIsListed(t *testing.T) {
	a, b, _ := unsealed(t)
	leaver := handover.NewKey()
	if err := a.barrier.Use(func(k *barrier.Keys) error {
		announceAs(t, b, foreignID, handover.Unsealed(k.UUID, foreignID, "leaver", k.Root, leaver))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	found := awaitRecipients(t, a, 2)
	if !slices.Contains(namesOf(found.Recipients), "leaver") {
		t.Errorf("%+v", found)
	}
}

// TestOldUnsealKeyAndThePastOpenNothingNew: somebody who has the old unseal key
// and everything that the storage ever held, but no server's memory, opens no value
// that was written after a rotation.
func TestOldUnsealKeyAndThePastOpenNothingNew(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	past := &recording{Backend: b}
	a, key := unsealedOn(t, past)
	other, _ := openNamed(t, b, "other", nil)
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Create(ctx, path(t, "old"), text("written before")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		awaitRecipients(t, a, 2)
		if _, _, err := rotateRoot(t, a, false); err != nil {
			t.Fatal(err)
		}
		if err := lifecycle.Refresh(ctx, other.Lifecycle); err != nil || other.Status().State != StateUnsealed {
			t.Fatalf("%+v, %v", other.Status(), err)
		}
	}
	if _, err := a.Create(ctx, path(t, "new"), text("written after")); err != nil {
		t.Fatal(err)
	}
	thief := newThief(t, a.Status().UUID, key, past.records())
	if !thief.opens(t, "old") {
		t.Error("the old key does not open what was written before: the test is wrong")
	}
	if thief.opens(t, "new") {
		t.Error("the old unseal key opens a value that was written after the rotation")
	}
}

// TestNoKeyIsChangedBesideAnEarlierRelease: a live server that announces itself to
// people but not to servers is of an earlier release.
func TestNoKeyIsChangedBesideAnEarlierRelease(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	old := Server{ID: strings.Repeat("0a", 16), Name: "old-host (10.0.0.7:1337)"}
	var nodes atomic.Pointer[[]Server]
	nodes.Store(&[]Server{old})
	s, _ := openNamed(t, b, "one", func(context.Context) ([]Server, error) { return *nodes.Load(), nil })
	info, err := s.Init(ctx, sameHolder(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	enter(t, s, info)
	refused := func(what string, err error) {
		t.Helper()
		var found *OldServersError
		if !errors.As(err, &found) || !slices.Equal(found.Servers, []Server{old}) {
			t.Errorf("%s: %v; want an OldServersError", what, err)
		}
	}
	_, err = s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true})
	var leftOut *LeftOutError
	if !errors.As(err, &leftOut) || !slices.Equal(namesOf(leftOut.LeftOut), []string{old.Name}) {
		t.Errorf("rekey with rotation: %v; want a LeftOutError", err)
	}
	_, err = s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)})
	refused("rekey", err)
	_, err = s.Rotate(ctx)
	refused("rotation", err)

	nodes.Store(new([]Server))
	rekey, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	nodes.Store(&[]Server{old})
	_, err = s.VerifyRekey(ctx, rekey.Nonce, []byte(sharesOf(t, rekey.Keys)[0]))
	refused("verify", err)
	if err := s.CancelRekey(ctx, rekey.Nonce); err != nil {
		t.Error(err)
	}
	if err := errOf(s.Create(ctx, path(t, "a"), text("v"))); err != nil {
		t.Error(err)
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Error(err)
	}
	enter(t, s, info)

	// An operator who knows better, and a server that has been replaced.
	if rekey, err = s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), LeaveOut: true}); err != nil {
		t.Fatal(err)
	}
	if done, err := s.VerifyRekey(ctx, rekey.Nonce, []byte(sharesOf(t, rekey.Keys)[0])); err != nil || done.Active {
		t.Errorf("%+v, %v", done, err)
	}
	announceAs(t, b, old.ID, handover.Sealed(old.Name))
	if _, err := s.Rotate(ctx); err != nil {
		t.Errorf("rotation beside a server that announces itself to servers: %v", err)
	}
}
