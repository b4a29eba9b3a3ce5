package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

// mortalHolder has a key that expires in five days.
var mortalHolder = sync.OnceValue(func() holder { return newHolder("mortal", &packet.Config{KeyLifetimeSecs: 5 * 24 * 3600}) })

// several asks for shares of n holders.
func several(n, threshold int) wire.InitRequest {
	ask := wire.InitRequest{Shares: n, Threshold: threshold}
	for _, h := range people[:n] {
		ask.PGPKeys = append(ask.PGPKeys, h().public)
	}
	return ask
}

// openAll decrypts the shares of several.
func openAll(t testing.TB, keys []string) []string {
	t.Helper()
	var all []string
	for i, k := range keys {
		all = append(all, people[i]().open(t, k))
	}
	return all
}

// TestALifeOfKeysOverTheWire is what operators do in the life of a store: three
// holders, two of whom unseal, hand it over to one, who rotates.
func TestALifeOfKeysOverTheWire(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root := t.Context(), e.api("root")
	made, err := root.Init(ctx, several(3, 2))
	must(t, err)
	old := openAll(t, made.Keys)
	unsealWith(t, root, old[2], old[0])
	e.put("group/a", "v")

	ask := wire.RekeyRequest{Shares: 1, Threshold: 1, PGPKeys: []string{mortalHolder().public}, Rotate: true}
	ask.Current = wire.Shares(old[:2])
	begun, err := root.StartRekey(ctx, ask)
	must(t, err)
	if !begun.Active || begun.Nonce == "" || begun.Shares != 1 || begun.Threshold != 1 || !begun.Rotate || len(begun.Keys) != 1 ||
		len(begun.Fingerprints) != 1 || begun.Progress != 0 || time.Since(begun.Started).Abs() > time.Hour || begun.Started.Nanosecond() != 0 {
		t.Errorf("%+v", begun)
	}
	if len(begun.Recipients) != 1 || !begun.Recipients[0].Self || len(begun.LeftOut) != 0 {
		t.Errorf("the new root key is for this server alone: %+v", begun)
	}
	begun.Recipients = nil
	_, err = root.StartRekey(ctx, ask)
	wantIs(t, "second rekey", err, client.ErrExists)
	if shown, err := root.RekeyStatus(ctx); err != nil || !cmp.Equal(shown, begun) {
		t.Errorf("%+v, %v, want %+v", shown, err, begun)
	}
	_, err = root.VerifyRekey(ctx, begun.Nonce, strings.Repeat("ab", 32))
	wantIs(t, "a wrong share", err, client.ErrBadRequest)
	share := mortalHolder().open(t, begun.Keys[0])
	_, err = root.VerifyRekey(ctx, "another", share)
	wantIs(t, "another nonce", err, client.ErrNotFound)
	done, err := root.VerifyRekey(ctx, begun.Nonce, share)
	must(t, err)
	if done.Active || done.Progress != 1 || done.Nonce != begun.Nonce {
		t.Errorf("%+v", done)
	}
	_, err = root.VerifyRekey(ctx, begun.Nonce, share)
	wantIs(t, "verify of what is done", err, client.ErrNotFound)
	e.want(req{method: "GET", path: "/secrets/v1/rekey/default", uid: "root"}, 200, `{"active":false}`)

	rotated, err := root.Rotate(ctx)
	must(t, err)
	if rotated.Term < 2 || rotated.Terms < 2 || rotated.State != "running" {
		t.Errorf("%+v", rotated)
	}
	eventually(t, func() bool {
		r, err := root.RotationStatus(ctx)
		return err == nil && r.State == "idle" && r.Terms == 1 && r.Term == rotated.Term && r.Total == r.Done
	})
	eventually(t, func() bool { // not only an hour later
		return strings.Contains(e.log.String(), "needs attention") && strings.Contains(e.log.String(), "less than 7 days")
	})
	checkKeys(t, e, root)
	_, err = root.Unseal(ctx, old[0])
	wantIs(t, "a share of the old key", err, client.ErrBadRequest)
	unsealWith(t, root, share)
	if got, err := root.Get(ctx, "group/a", client.GetOptions{}); err != nil || string(got.Value) != "v" {
		t.Errorf("%q, %v", got.Value, err)
	}
	searchForShares(t, e, append(old, share))
}

// unsealWith enters shares and demands that the last one, and no other,
// unseals.
func unsealWith(t testing.TB, c *client.Client, shares ...string) {
	t.Helper()
	for i, share := range shares {
		st, err := c.Unseal(t.Context(), share)
		must(t, err)
		last := i == len(shares)-1
		if want := map[bool]int{true: 0, false: i + 1}[last]; st.Sealed == last || st.Progress != want {
			t.Fatalf("after share %d: %+v", i, st)
		}
	}
}

// checkKeys demands what doctor shows, unsealed and sealed, and leaves the
// store sealed.
func checkKeys(t *testing.T, e *edge, root *client.Client) {
	t.Helper()
	keys, err := root.Keys(t.Context())
	must(t, err)
	if keys.Sealed || keys.Terms != 1 || keys.OldRecords != 0 || keys.Shares != 1 || keys.Threshold != 1 || keys.BootstrapKeyHeld || keys.RekeyUnderWay || len(keys.Holders) != 1 {
		t.Fatalf("%+v", keys)
	}
	h := keys.Holders[0]
	if h.Fingerprint != fmt.Sprintf("%x", mortalHolder().entity.PrimaryKey.Fingerprint) || !strings.Contains(h.UserID, "mortal@example.com") || h.Algorithm == "" || h.Problem != "" {
		t.Errorf("%+v", h)
	}
	if h.Expires == nil || time.Until(*h.Expires) > 5*24*time.Hour || !strings.Contains(h.Warning, "7 days") {
		t.Errorf("%+v", h)
	}
	e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_data_key_terms 1\n",
		fmt.Sprintf("secretstore_holder_key_expiry_timestamp_seconds{holder=\"1\"} %s", promTime(*h.Expires)))
	_, err = root.Seal(t.Context())
	must(t, err)
	sealed, err := root.Keys(t.Context())
	must(t, err)
	keys.Sealed, keys.Terms, keys.RotationState = true, 0, ""
	if !cmp.Equal(sealed, keys) {
		t.Errorf("sealed: %s", cmp.Diff(keys, sealed))
	}
	eventually(t, func() bool { // the page may be from before the seal
		got := e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_holder_key_expiry")
		if strings.Contains(strings.ToLower(got.body), h.Fingerprint) {
			t.Error("the metrics show the fingerprint of a holder")
		}
		return !strings.Contains(got.body, "secretstore_data_key_terms ")
	})
}

// promTime spells a Unix time as Prometheus does.
func promTime(t time.Time) string { return strconv.FormatFloat(float64(t.Unix()), 'g', -1, 64) }

func searchForShares(t *testing.T, e *edge, shares []string) {
	t.Helper()
	trail, err := os.ReadFile(e.audit)
	must(t, err)
	for name, text := range map[string]string{"log": e.log.String(), "audit log": string(trail)} {
		if text == "" {
			t.Fatalf("the %s is empty", name)
		}
		for i, share := range shares {
			if strings.Contains(text, share) {
				t.Errorf("the %s holds share %d", name, i)
			}
		}
	}
}

func TestEnteredSharesCanBeReset(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root := t.Context(), e.api("root")
	made, err := root.Init(ctx, several(3, 2))
	must(t, err)
	shares := openAll(t, made.Keys)
	for _, share := range []string{shares[0], shares[0]} { // the same share twice counts once
		if st, err := root.Unseal(ctx, share); err != nil || st.Progress != 1 || !st.Sealed {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	// A wrong share is reported at once, and the others stay.
	wrong := "02" + shares[0][2:]
	got := e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + wrong + `"}`}, 400, "wrong unseal key")
	if strings.Contains(got.body, wrong) {
		t.Error("the share is echoed")
	}
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "alice"}, 200, `"threshold":2,"shares":3,"progress":1`)
	if st, err := root.ResetUnseal(ctx); err != nil || st.Progress != 0 || !st.Sealed {
		t.Errorf("%+v, %v", st, err)
	}
	unsealWith(t, root, shares[1], shares[2])
	if st, err := root.ResetUnseal(ctx); err != nil || st.Sealed {
		t.Errorf("reset of an unsealed store: %+v, %v", st, err)
	}
}

func TestThirtyTwoHoldersFitIntoABody(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	r := several(32, 32)
	for i := range r.PGPKeys {
		r.PGPKeys[i] += strings.Repeat(" ", 200<<10) // white space anywhere is ignored
	}
	made, err := e.api("root").Init(t.Context(), r)
	must(t, err)
	if len(made.Keys) != 32 {
		t.Errorf("%d keys", len(made.Keys))
	}
	r.PGPKeys[31] += strings.Repeat(" ", 8<<20)
	_, err = e.api("root").Init(t.Context(), r)
	wantIs(t, "a body of more than 8 MiB", err, client.ErrTooLarge)
	many := `{"shares":1,"threshold":1,"pgp_keys":[` + strings.Repeat(`"",`, 100_000) + `""]}`
	e.want(req{method: "PUT", path: "/secrets/v1/init/default", uid: "root", body: many}, 400, "the body must be")
}

func TestRekeyBodiesAreStrict(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	public := testHolder().public
	good := `{"shares":1,"threshold":1,"pgp_keys":["` + public + `"]`
	for _, body := range []string{
		"", "null", "[]", "{}", "{", good, good + `}{}`, good + `,"shares":1}`, good + `,"rotate":"yes"}`, good + `,"current":"x"}`,
		`{"shares":2,"threshold":1,"pgp_keys":["` + public + `"]}`, `{"shares":1,"threshold":2,"pgp_keys":["` + public + `"]}`,
		`{"shares":1,"threshold":1,"pgp_keys":["x"]}`, `{"Shares":1,"threshold":1,"pgp_keys":["` + public + `"]}`,
	} {
		e.want(req{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root", body: body}, 400)
	}
	e.want(req{method: "GET", path: "/secrets/v1/rekey/default", uid: "root"}, 200, `{"active":false}`)
	for _, body := range []string{"", "{}", `{"nonce":"x"}`, `{"key":"x"}`, `{"nonce":"x","key":1}`, `{"nonce":"x","key":"x","key":"x"}`} {
		e.want(req{method: "PUT", path: "/secrets/v1/rekey/default/verify", uid: "root", body: body}, 400, "nonce")
		e.want(req{method: "PUT", path: "/secrets/v1/rekey/default/current", uid: "root", body: body}, 400, "nonce")
	}
}

// TestHoldersApproveARekeyOverTheWire: each sends one share, and the state names
// those who are missing.
func TestHoldersApproveARekeyOverTheWire(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root := t.Context(), e.api("root")
	made, err := root.Init(ctx, several(3, 2))
	must(t, err)
	old := openAll(t, made.Keys)
	unsealWith(t, root, old[2], old[0])
	ask := wire.RekeyRequest{Shares: 1, Threshold: 1, PGPKeys: []string{mortalHolder().public}, Current: wire.Shares([]string{old[1], old[1]})}
	begun, err := root.StartRekey(ctx, ask)
	must(t, err)
	if !begun.Active || begun.Phase != "approval" || len(begun.Keys) != 0 || begun.Approvals != 1 || begun.ApprovalsRequired != 2 || len(begun.Missing) != 2 ||
		begun.Missing[0].Fingerprint != made.Fingerprints[0] || len(begun.Holders) != 1 || begun.Holders[0].Fingerprint != begun.Fingerprints[0] || begun.Holders[0].UserID == "" {
		t.Fatalf("%+v", begun)
	}
	if shown, err := root.RekeyStatus(ctx); err != nil || !cmp.Equal(shown, begun) {
		t.Errorf("%+v, %v, want %+v", shown, err, begun)
	}
	got := e.want(req{method: "GET", path: "/secrets/v1/rekey/default", uid: "root"}, 200, `"phase":"approval"`, `"keys":[]`)
	for _, share := range old {
		if strings.Contains(got.body, share) {
			t.Error("the state of the rekey shows a share")
		}
	}
	_, err = root.StartRekey(ctx, ask)
	wantIs(t, "second rekey", err, client.ErrExists)
	_, err = root.VerifyRekey(ctx, begun.Nonce, old[0])
	wantIs(t, "verification before the approval", err, client.ErrExists)
	_, err = root.ApproveRekey(ctx, "another", old[0])
	wantIs(t, "another nonce", err, client.ErrNotFound)
	for _, wrong := range []string{"xyz", shareOfAnotherStore(t)} {
		_, err = root.ApproveRekey(ctx, begun.Nonce, wrong)
		wantIs(t, "a wrong share", err, client.ErrBadRequest)
	}
	approved, err := root.ApproveRekey(ctx, begun.Nonce, old[0])
	must(t, err)
	if approved.Phase != "verification" || len(approved.Keys) != 1 || len(approved.Missing) != 1 || approved.Missing[0] != begun.Holders[0] {
		t.Fatalf("%+v", approved)
	}
	done, err := root.VerifyRekey(ctx, begun.Nonce, mortalHolder().open(t, approved.Keys[0]))
	must(t, err)
	if done.Active || done.Phase != "done" || len(done.Missing) != 0 {
		t.Errorf("%+v", done)
	}
}

// shareOfAnotherStore returns a share that fits no other store.
func shareOfAnotherStore(t *testing.T) string {
	t.Helper()
	other := newEdge(t, edgeOptions{uninitialized: true})
	made, err := other.api("root").Init(t.Context(), several(3, 2))
	must(t, err)
	return testHolder().open(t, made.Keys[0])
}

func TestARekeyIsCancelledOnlyByItsNonce(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, root := t.Context(), e.api("root")
	const path = "/secrets/v1/rekey/default"
	ask := wire.RekeyRequest{Shares: 2, Threshold: 2, PGPKeys: several(2, 2).PGPKeys}
	begun, err := root.StartRekey(ctx, ask)
	must(t, err)
	st, err := root.VerifyRekey(ctx, begun.Nonce, openAll(t, begun.Keys)[1])
	if err != nil || !st.Active || st.Progress != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	e.want(req{method: "PUT", path: path + "/verify", uid: "root", body: `{"nonce":"` + begun.Nonce + `","key":"` + e.unseal + `"}`}, 400)
	for _, other := range []string{"", "00", strings.ToUpper(begun.Nonce) + "0"} {
		wantIs(t, "cancel "+other, root.CancelRekey(ctx, other), client.ErrNotFound)
	}
	for _, q := range []req{
		{path: path}, {path: path, body: "{}"}, {path: path, body: `{"nonce":1}`}, {path: path + "?nonce=%zz"},
		{path: path + "?nonce=" + begun.Nonce + "&nonce=" + begun.Nonce}, {path: path + "?nonce=" + begun.Nonce, body: `{"nonce":"` + begun.Nonce + `"}`},
	} {
		q.method, q.uid = "DELETE", "root"
		e.want(q, 400)
	}
	if st, err := root.RekeyStatus(ctx); err != nil || !st.Active || st.Progress != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	must(t, root.CancelRekey(ctx, begun.Nonce))
	wantIs(t, "cancel again", root.CancelRekey(ctx, begun.Nonce), client.ErrNotFound)
	begun, err = root.StartRekey(ctx, ask)
	must(t, err)
	e.want(req{method: "DELETE", path: path, uid: "root", body: `{"nonce":"` + begun.Nonce + `"}`}, 204)
	// The key in force has not changed.
	e.sealStore()
	unsealWith(t, root, e.unseal)
}

// TestAForgedRekeyIsReportedAndCanBeRemoved: an attacker who can write to the
// storage cannot offer the holders another key, and the record can be removed.
func TestAForgedRekeyIsReportedAndCanBeRemoved(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, root := t.Context(), e.api("root")
	begun, err := root.StartRekey(ctx, wire.RekeyRequest{Shares: 1, Threshold: 1, PGPKeys: []string{testHolder().public}})
	must(t, err)
	const key = store.Key("stores/default/rekey")
	node, err := e.backend.Get(ctx, key, store.Latest)
	must(t, err)
	forged := bytes.Replace(node.Data, []byte(`"rotate":false`), []byte(`"rotate":true`), 1)
	if bytes.Equal(forged, node.Data) {
		t.Fatal("nothing was forged")
	}
	_, err = e.backend.Apply(ctx, store.Set(key, forged, node.Version))
	must(t, err)
	const path = "/secrets/v1/rekey/default"
	e.want(req{method: "GET", path: path, uid: "root"}, 500, "not written by this store", "nonce=")
	e.want(req{method: "DELETE", path: path + "?nonce=" + begun.Nonce, uid: "root"}, 500, "not written by this store")
	e.want(req{method: "DELETE", path: path + "?nonce=", uid: "root"}, 204)
	e.want(req{method: "GET", path: path, uid: "root"}, 200, `{"active":false}`)
}

// TestOneKeyHasOneShare: with two, one person would be two of the holders.
func TestOneKeyHasOneShare(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root, ask := t.Context(), e.api("root"), several(3, 2)
	ask.PGPKeys[2] = " " + ask.PGPKeys[0]
	const want = "keys 1 and 3 of pgp_keys are the same"
	if _, err := root.Init(ctx, ask); !errors.Is(err, client.ErrBadRequest) || !strings.Contains(err.Error(), want) {
		t.Errorf("init: %v", err)
	}
	ask.PGPKeys[2] = "junk"
	if _, err := root.Init(ctx, ask); !errors.Is(err, client.ErrBadRequest) || !strings.Contains(err.Error(), "key 3 of pgp_keys: ") {
		t.Errorf("init: %v", err)
	}
	made, err := root.Init(ctx, several(1, 1))
	must(t, err)
	unsealWith(t, root, openAll(t, made.Keys)[0])
	ask.PGPKeys[2] = ask.PGPKeys[0]
	_, err = root.StartRekey(ctx, wire.RekeyRequest{Shares: 3, Threshold: 2, PGPKeys: ask.PGPKeys})
	if !errors.Is(err, client.ErrBadRequest) || !strings.Contains(err.Error(), want) {
		t.Errorf("rekey: %v", err)
	}
}

// TestMetricsOfOneHolderOfSeveralShares, as stores of earlier releases have: the
// same key twice would fail the whole scrape.
func TestMetricsOfOneHolderOfSeveralShares(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	public := mortalHolder().public
	_, err := e.store.Init(t.Context(), seal.InitParams{Shares: 3, Threshold: 2, PGPKeys: []string{public, public, testHolder().public}})
	must(t, err)
	got := e.want(req{method: "GET", path: "/metrics"}, 200)
	if n := strings.Count(got.body, "secretstore_holder_key_expiry_timestamp_seconds{"); n != 1 {
		t.Errorf("%d keys that expire, want 1", n)
	}
}

func TestRotationsDoNotPileUp(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	root := e.api("root")
	// A damaged record keeps every older key from leaving.
	_, err := e.backend.Apply(t.Context(), store.Create("stores/default/blobs/"+strings.Repeat("0a", 16), []byte("junk")))
	must(t, err)
	for range 300 {
		if _, err = root.Rotate(t.Context()); err != nil {
			break
		}
	}
	wantIs(t, "too many rotations", err, client.ErrExists)
}

// TestChangedConfigIsReportedAndAllowsNoRekey: the record of the holders loses its
// MAC while the server runs.
func TestChangedConfigIsReportedAndAllowsNoRekey(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root := t.Context(), e.api("root")
	made, err := root.Init(ctx, several(3, 2))
	must(t, err)
	shares := openAll(t, made.Keys)
	unsealWith(t, root, shares[0], shares[1])
	e.put("a", "v")
	if st, err := root.SealStatus(ctx); err != nil || len(st.Warnings) > 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	const key = "stores/default/config"
	node, err := e.backend.Get(ctx, key, store.Latest)
	must(t, err)
	one := bytes.Replace(node.Data, []byte(`"mac":`), []byte(`"was":`), 1)
	_, err = e.backend.Apply(ctx, store.Set(key, one, node.Version))
	must(t, err)

	const genuine = "is not genuine, so no key is changed"
	e.want(req{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root", body: fmt.Sprintf(
		`{"shares":1,"threshold":1,"pgp_keys":[%q],"current":[%q,%q]}`, testHolder().public, shares[0], shares[1])}, 409, genuine)
	e.want(req{method: "GET", path: "/secrets/v1/init/default", uid: "root"}, 409, genuine)
	st, err := root.SealStatus(ctx)
	if err != nil || st.Sealed || len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0], "has lost its MAC") {
		t.Errorf("%+v, %v", st, err)
	}
	if keys, err := root.Keys(ctx); err != nil || !strings.Contains(keys.ConfigWarning, "has lost its MAC") {
		t.Errorf("%+v, %v", keys, err)
	}
	if got, err := root.Get(ctx, "a", client.GetOptions{Latest: true}); err != nil || string(got.Value) != "v" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if _, err := root.Seal(ctx); err != nil {
		t.Error(err)
	}
	unsealWith(t, root, shares[2], shares[1])
}
