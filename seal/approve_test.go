package seal

import (
	"bytes"
	"strings"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/store"
	"secretstore/store/memory"
)

// These tests are about a rekey of a store with several holders: each of them
// approves it alone.

// propose starts a rekey to one holder that nobody has approved.
func propose(t *testing.T, s *Store) RekeyInfo {
	t.Helper()
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil || !info.Active || info.Approved || len(info.Keys) != 0 || info.Approvals != 0 || info.Required != 2 || len(info.Missing) != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	return info
}

// approve enters one share, and checks how many the server has then.
func approve(t *testing.T, s *Store, nonce, share string, want int) RekeyInfo {
	t.Helper()
	info, err := s.ApproveRekey(t.Context(), nonce, []byte(share))
	if err != nil || !info.Active || info.Nonce != nonce {
		t.Fatalf("%+v, %v", info, err)
	}
	if !info.Approved && (info.Approvals != want || len(info.Missing) != 3-want) || info.Approved != (want == 2) {
		t.Fatalf("%d approvals wanted: %+v", want, info)
	}
	return info
}

func wantApprovals(t *testing.T, s *Store, want int) {
	t.Helper()
	if info, err := s.RekeyStatus(t.Context()); err != nil || info.Approved || info.Approvals != want {
		t.Errorf("%d approvals wanted: %+v, %v", want, info, err)
	}
}

func TestEachHolderApprovesARekeyAlone(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s, old := threeHolders(t, b)
	shares := sharesOf(t, old.Keys)
	begun := propose(t, s)
	for key, node := range dump(t, b) {
		if key == barrier.KeyRekey || key == barrier.KeyProposal && bytes.Contains(node.Data, []byte(`"keys"`)) {
			t.Errorf("there is a new key before anybody has approved it: %s", key)
		}
	}
	_, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(shares[:2])})
	wantErr(t, "another rekey", err, ErrRekeyUnderWay)
	_, err = s.VerifyRekey(ctx, begun.Nonce, []byte(strings.Repeat("00", 32)))
	wantErr(t, "verification before the approval", err, ErrNotApproved)

	approve(t, s, begun.Nonce, shares[2], 1)
	approve(t, s, begun.Nonce, shares[2], 1) // the same share twice counts once
	_, err = s.ApproveRekey(ctx, "another", []byte(shares[0]))
	wantErr(t, "another nonce", err, ErrNoRekey)
	_, err = s.ApproveRekey(ctx, begun.Nonce, []byte("xyz"))
	wantErr(t, "no share", err, ErrBadKey)
	_, foreign := threeHolders(t, memory.New())
	_, err = s.ApproveRekey(ctx, begun.Nonce, []byte(sharesOf(t, foreign.Keys)[0]))
	wantErr(t, "a share of another store", err, ErrWrongKey)
	wantApprovals(t, s, 1)

	approved := approve(t, s, begun.Nonce, shares[0], 2)
	if len(approved.Keys) != 1 || len(approved.Missing) != 1 {
		t.Fatalf("%+v", approved)
	}
	if _, found := dump(t, b)[barrier.KeyProposal]; found {
		t.Error("the proposal is still there")
	}
	approve(t, s, begun.Nonce, shares[1], 2) // too late, and not wrong

	// The approval outlives a restart of the server.
	s.Close()
	s = open(t, b, false)
	enter(t, s, old)
	if info, err := s.RekeyStatus(ctx); err != nil || !info.Approved || info.Keys[0] != approved.Keys[0] {
		t.Fatalf("%+v, %v", info, err)
	}
	key := sharesOf(t, approved.Keys)[0]
	if info, err := s.VerifyRekey(ctx, begun.Nonce, []byte(key)); err != nil || info.Active {
		t.Fatalf("%+v, %v", info, err)
	}
	_, err = s.ApproveRekey(ctx, begun.Nonce, []byte(shares[1]))
	wantErr(t, "approval after the end", err, ErrNoRekey)
	if st, err := open(t, b, false).Unseal(ctx, []byte(key)); err != nil || st.Sealed() {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestTooFewCurrentSharesAreApprovals(t *testing.T) {
	s, info := threeHolders(t, memory.New())
	shares := sharesOf(t, info.Keys)
	_, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: [][]byte{[]byte(shares[1]), []byte("00")}})
	wantErr(t, "a share that is none", err, ErrBadKey)
	begun, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes([]string{shares[1], shares[1]})})
	if err != nil || begun.Approved || begun.Approvals != 1 || len(begun.Missing) != 2 {
		t.Fatalf("%+v, %v", begun, err)
	}
	approve(t, s, begun.Nonce, shares[0], 2)
}

func TestServersCollectApprovalsSeparately(t *testing.T) {
	b := memory.New()
	one, info := threeHolders(t, b)
	two := open(t, b, false)
	enter(t, two, info)
	shares := sharesOf(t, info.Keys)
	begun := propose(t, one)
	approve(t, one, begun.Nonce, shares[0], 1)
	wantApprovals(t, two, 0)
	approve(t, two, begun.Nonce, shares[1], 1)
	approve(t, two, begun.Nonce, shares[0], 2)
	if got, err := one.ApproveRekey(t.Context(), begun.Nonce, []byte(shares[1])); err != nil || !got.Approved {
		t.Errorf("a share for a rekey that another server has: %+v, %v", got, err)
	}
}

// TestRestartForgetsSharesAndKeepsTheProposal: shares are in memory only.
func TestRestartForgetsSharesAndKeepsTheProposal(t *testing.T) {
	b := memory.New()
	s, info := threeHolders(t, b)
	shares := sharesOf(t, info.Keys)
	begun := propose(t, s)
	approve(t, s, begun.Nonce, shares[0], 1)
	for key, node := range dump(t, b) {
		for _, share := range shares {
			if bytes.Contains(node.Data, []byte(share)) {
				t.Errorf("a share is in %s", key)
			}
		}
	}
	s.Close()
	s = open(t, b, false)
	enter(t, s, info)
	wantApprovals(t, s, 0)
	approve(t, s, begun.Nonce, shares[0], 1)
	approve(t, s, begun.Nonce, shares[2], 2)
}

// TestApprovalsSurviveAFailedWrite: the holders need not come again if the
// storage fails when the last one has approved.
func TestApprovalsSurviveAFailedWrite(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		f := &faulty{Backend: memory.New()}
		s, info := threeHolders(t, f)
		shares := sharesOf(t, info.Keys)
		begun := propose(t, s)
		approve(t, s, begun.Nonce, shares[0], 1)
		decide := func([]store.Op) (bool, error) { return persisted, store.ErrOutcomeUnknown }
		f.apply.Store(&decide)
		if got, err := s.ApproveRekey(t.Context(), begun.Nonce, []byte(shares[1])); persisted != (err == nil && got.Approved) {
			t.Errorf("persisted %v: %+v, %v", persisted, got, err)
		}
		f.apply.Store(nil)
		approve(t, s, begun.Nonce, shares[1], 2)
	}
}

// TestForgedProposalIsNotShownToHolders: an attacker who can write to the
// storage puts their own key in place of a new holder's, or an old proposal back.
func TestForgedProposalIsNotShownToHolders(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s, info := threeHolders(t, b)
	shares := sharesOf(t, info.Keys)
	begun := propose(t, s)
	genuine := record(t, b, barrier.KeyProposal)
	for what, changes := range map[string]map[string]any{
		"one holder more": {"pgp_keys": []string{holderPublic(t), holderPublic(t)}},
		"rotate":          {"rotate": true},
		"a MAC of zeros":  {"mac": strings.Repeat("00", 32)},
		"no MAC":          {"mac": nil},
	} {
		put(t, b, barrier.KeyProposal, edit(t, genuine, changes))
		_, err := s.RekeyStatus(ctx)
		wantErr(t, what+": status", err, ErrCorrupt)
		_, err = s.ApproveRekey(ctx, begun.Nonce, []byte(shares[0]))
		wantErr(t, what+": approve", err, ErrCorrupt)
		wantErr(t, what+": cancel by nonce", s.CancelRekey(ctx, begun.Nonce), ErrCorrupt)
	}
	if err := s.CancelRekey(ctx, ""); err != nil {
		t.Fatalf("a forged proposal cannot be removed: %v", err)
	}
	_, err := s.ApproveRekey(ctx, begun.Nonce, []byte(shares[0]))
	wantErr(t, "approve after the removal", err, ErrNoRekey)

	// A rekey to the same holders, and then the genuine old proposal.
	again, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 3, 2), Current: asBytes(shares[:2])})
	if err != nil || !again.Approved {
		t.Fatalf("%+v, %v", again, err)
	}
	for _, share := range sharesOf(t, again.Keys)[:2] {
		if again, err = s.VerifyRekey(ctx, again.Nonce, []byte(share)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, barrier.KeyProposal, genuine)
	_, err = s.RekeyStatus(ctx)
	wantErr(t, "an old proposal: status", err, ErrCorrupt)
	_, err = s.ApproveRekey(ctx, begun.Nonce, []byte(sharesOf(t, again.Keys)[0]))
	wantErr(t, "an old proposal: approve", err, ErrCorrupt)
}

// TestRekeyOnAnotherServerEndsAProposal: one server has begun a rekey in the same
// moment in which another one has proposed one.
func TestRekeyOnAnotherServerEndsAProposal(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s, info := threeHolders(t, b)
	shares := sharesOf(t, info.Keys)
	begun, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(shares[:2]), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	node, err := b.Get(ctx, barrier.KeyRekey, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(ctx, store.Delete(barrier.KeyRekey, node.Version)); err != nil {
		t.Fatal(err)
	}
	proposed := propose(t, s)
	put(t, b, barrier.KeyRekey, node.Data)
	approve(t, s, proposed.Nonce, shares[0], 1)
	_, err = s.ApproveRekey(ctx, proposed.Nonce, []byte(shares[1]))
	wantErr(t, "approval of the second rekey", err, ErrRekeyUnderWay)
	if _, err := s.VerifyRekey(ctx, begun.Nonce, []byte(sharesOf(t, begun.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	if info, err := s.RekeyStatus(ctx); err != nil || info.Active {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestSealElsewhereForgetsApprovals: the shares leave the memory of every server.
func TestSealElsewhereForgetsApprovals(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	one, info := threeHolders(t, b)
	two := open(t, b, false)
	enter(t, two, info)
	begun := propose(t, one)
	approve(t, one, begun.Nonce, sharesOf(t, info.Keys)[0], 1)
	if _, err := two.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if err := lifecycle.Refresh(ctx, one.Lifecycle); err != nil || one.Status().State != StateSealed {
		t.Fatalf("%+v, %v", one.Status(), err)
	}
	enter(t, one, info)
	wantApprovals(t, one, 0)
}
