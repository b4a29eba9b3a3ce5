package oldstores_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"secretstore/acl"
	"secretstore/internal/oldstores"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
)

const stores = "../../" + oldstores.Folder

// names returns the folders of the stores on one kind of storage, which their
// names end in.
func names(t *testing.T, suffix string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(stores, "*-"+suffix))
	if err != nil || len(dirs) != 5 {
		t.Fatalf("the stores on %s are %q, %v", suffix, dirs, err)
	}
	return dirs
}

// TestOldStoresOnBolt opens the stores that an earlier release made on bbolt.
func TestOldStoresOnBolt(t *testing.T) {
	t.Parallel()
	for _, dir := range names(t, "bolt") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "store.db")
			if err := oldstores.UnpackBolt(dir, file); err != nil {
				t.Fatal(err)
			}
			open := func(t *testing.T) (*seal.Store, func()) {
				b, err := bolt.Open(t.Context(), file)
				if err != nil {
					t.Fatal(err)
				}
				return openStore(t, b, file+".bootstrap.key")
			}
			raw := func(t *testing.T) []record {
				b, err := bolt.Open(t.Context(), file)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				return dumpBackend(t, b)
			}
			testStore(t, dir, open, raw)
		})
	}
}

// openStore opens a store. The function that it returns closes the store and its
// backend.
func openStore(t *testing.T, b store.Backend, keyFile string) (*seal.Store, func()) {
	t.Helper()
	s, err := seal.Open(t.Context(), seal.Options{Backend: b, Bootstrap: true, BootstrapKeyFile: keyFile, KeepVersions: 3,
		Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		b.Close()
		t.Fatal(err)
	}
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		if err := errors.Join(s.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return s, end
}

// tester runs the checks of one store. want changes with the store.
type tester struct {
	*testing.T
	*seal.Store
	want oldstores.Store
}

// testStore opens the store in dir, checks that it holds everything that the
// earlier release wrote, finishes the rekey and the rotation that were in
// progress, and opens the result again. raw reads the records while the store is
// closed.
func testStore(t *testing.T, dir string, open func(*testing.T) (*seal.Store, func()), raw func(*testing.T) []record) {
	want, err := oldstores.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if terms := termsInUse(t, raw(t)); len(terms) != want.Terms {
		t.Fatalf("records are under the terms %v, want %d terms", terms, want.Terms)
	}
	s, end := open(t)
	x := &tester{t, s, want}
	x.unseal(want.Holders, want.Threshold, want.Bootstrap)
	x.checkStatus()
	x.checkAll()
	x.checkTask()
	x.undelete()
	x.checkAll()
	if want.Rekey != nil {
		x.rekey()
	}
	if want.Terms > 1 || want.Rekey != nil && want.Rekey.Rotate {
		x.awaitRotation()
	}
	x.checkAll()
	x.write()
	end()
	if want.Terms > 1 {
		if terms := termsInUse(t, raw(t)); !cmp.Equal(terms, []uint32{uint32(want.Terms)}) {
			t.Errorf("after the rotation, records are encrypted under the terms %v", terms)
		}
	}

	again, _ := open(t)
	x.Store = again
	x.unseal(x.want.Holders, x.want.Threshold, x.want.Bootstrap)
	x.checkAll()
}

// unseal unseals the store with shares of the last holders, and checks that fewer
// than the threshold do not unseal it. With a bootstrap key, it waits until the
// store has unsealed itself.
func (x *tester) unseal(holders []int, threshold int, bootstrap bool) {
	x.Helper()
	ctx := x.Context()
	if bootstrap {
		x.await("the bootstrap key to unseal", func() bool { return x.Status().State == seal.StateUnsealed })
		return
	}
	if st := x.Status(); st.State != seal.StateSealed {
		x.Fatalf("the store opens as %+v", st)
	}
	info, err := x.InitInfo(ctx)
	if err != nil || len(info.Keys) != len(holders) {
		x.Fatalf("%+v, %v", info, err)
	}
	for i := range threshold {
		if !x.Status().Sealed() {
			x.Fatalf("unsealed by %d of %d shares", i, threshold)
		}
		last := len(holders) - 1 - i // the first ones were used when it was made
		if _, err := x.Unseal(ctx, []byte(x.share(holders[last], info.Keys[last]))); err != nil {
			x.Fatal(err)
		}
	}
	if st := x.Status(); st.State != seal.StateUnsealed {
		x.Fatalf("not unsealed by %d shares: %+v", threshold, st)
	}
}

func (x *tester) share(holder int, wrapped string) string {
	x.Helper()
	share, err := oldstores.Share(stores, holder, wrapped)
	if err != nil {
		x.Fatal(err)
	}
	return share
}

// patience bounds every wait. It is meant for a machine under heavy load.
const patience = 3 * time.Minute

func (x *tester) await(what string, done func() bool) {
	x.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.Fatalf("still waiting for %s: %+v", what, x.Status())
		}
	}
}

func (x *tester) checkStatus() {
	x.Helper()
	st := x.Status()
	if st.UUID != x.want.UUID || st.Threshold != x.want.Threshold || st.Shares != max(1, len(x.want.Holders)) || st.HoldsBootstrapKey != x.want.Bootstrap {
		x.Errorf("status %+v", st)
	}
	rotation, err := x.RotationStatus(x.Context())
	if err != nil || rotation.Terms != x.want.Terms {
		x.Errorf("rotation %+v, %v; want %d terms", rotation, err, x.want.Terms)
	}
	rekey, err := x.RekeyStatus(x.Context())
	if err != nil || rekey.Active != (x.want.Rekey != nil) {
		x.Errorf("rekey %+v, %v", rekey, err)
	}
}

func (x *tester) checkAll() {
	x.Helper()
	if err := check(x.Context(), x.Store, x.want); err != nil {
		x.Fatal(err)
	}
}

// check compares the content of the store with the expected content.
func check(ctx context.Context, s *seal.Store, want oldstores.Store) error {
	var all []error
	names, err := s.List(ctx, acl.Path{}, seal.Page{}, store.Latest)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	var wanted []string
	for _, secret := range want.Secrets {
		wanted = append(wanted, secret.Path)
		all = append(all, checkSecret(ctx, s, secret))
	}
	if diff := cmp.Diff(wanted, names.Names); diff != "" {
		all = append(all, fmt.Errorf("names (-want +got):\n%s", diff))
	}
	for _, secret := range want.Deleted {
		all = append(all, checkDeleted(ctx, s, secret))
	}
	return errors.Join(all...)
}

func checkSecret(ctx context.Context, s *seal.Store, want oldstores.Secret) error {
	p, err := acl.ParsePath(want.Path)
	if err != nil {
		return err
	}
	current, err := s.Get(ctx, p, store.Latest)
	if err != nil {
		return fmt.Errorf("%s: %w", want.Path, err)
	}
	got := oldstores.Secret{Path: want.Path, Description: current.Description, Labels: current.Labels, Author: current.Author, Created: current.Created}
	versions, err := s.Versions(ctx, p, store.Latest)
	if err != nil {
		return fmt.Errorf("versions of %s: %w", want.Path, err)
	}
	for i, v := range versions.Versions {
		one, err := s.GetVersion(ctx, p, v.Version, store.Latest)
		if err != nil {
			return fmt.Errorf("version %d of %s: %w", v.Version, want.Path, err)
		}
		if i == 0 && (!v.Current || v.ID != current.ID || one.ID != current.ID || string(one.Value) != string(current.Value)) {
			return fmt.Errorf("%s: the newest version is not the current one: %+v", want.Path, v)
		}
		sum := sha256.Sum256(one.Value)
		got.Values = append(got.Values, oldstores.Value{Version: one.Version, ID: one.ID, Kind: int(one.Kind), Written: one.Written,
			Size: len(one.Value), SHA256: hex.EncodeToString(sum[:])})
	}
	if diff := cmp.Diff(withoutTexts(want), withoutTexts(got)); diff != "" {
		return fmt.Errorf("%s (-want +got):\n%s", want.Path, diff)
	}
	return nil
}

// withoutTexts removes what is only meant for people who read the file.
func withoutTexts(s oldstores.Secret) oldstores.Secret {
	s.Values = slices.Clone(s.Values)
	for i := range s.Values {
		s.Values[i].Text = ""
	}
	if len(s.Labels) == 0 {
		s.Labels = nil
	}
	return s
}

// checkDeleted checks a secret that does not exist but can be undeleted.
func checkDeleted(ctx context.Context, s *seal.Store, want oldstores.Secret) error {
	p, err := acl.ParsePath(want.Path)
	if err != nil {
		return err
	}
	if _, err := s.Get(ctx, p, store.Latest); !errors.Is(err, seal.ErrNotFound) {
		return fmt.Errorf("deleted %s: %w", want.Path, err)
	}
	versions, err := s.Versions(ctx, p, store.Latest)
	if err != nil || versions.Deleted.IsZero() {
		return fmt.Errorf("versions of deleted %s: %+v, %w", want.Path, versions, err)
	}
	var got []oldstores.Value
	for _, v := range versions.Versions {
		if v.Current {
			return fmt.Errorf("deleted %s has a current version", want.Path)
		}
		got = append(got, oldstores.Value{Version: v.Version, ID: v.ID, Kind: int(v.Kind), Written: v.Written, Size: int(v.Size)})
	}
	wanted := withoutTexts(want).Values
	for i := range wanted {
		wanted[i].SHA256 = "" // the values of a deleted secret cannot be read
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		return fmt.Errorf("versions of deleted %s (-want +got):\n%s", want.Path, diff)
	}
	return nil
}

// checkTask uses up the task token, and checks that it is refused then.
func (x *tester) checkTask() {
	x.Helper()
	task := x.want.Task
	for range task.Uses - task.Spent {
		if err := x.SpendTask(x.Context(), task.ID, task.Expires, task.Uses); err != nil {
			x.Fatal(err)
		}
	}
	if err := x.SpendTask(x.Context(), task.ID, task.Expires, task.Uses); !errors.Is(err, seal.ErrTaskSpent) {
		x.Errorf("use of a spent token: %v", err)
	}
}

// undelete undeletes every deleted secret.
func (x *tester) undelete() {
	x.Helper()
	if len(x.want.Deleted) == 0 {
		x.Fatal("nothing is deleted in this store")
	}
	for _, secret := range x.want.Deleted {
		back, err := x.Undelete(x.Context(), parse(x, secret.Path))
		if err != nil || back.ID != secret.Values[0].ID {
			x.Fatalf("undelete %s: %s, %v", secret.Path, back.ID, err)
		}
	}
	x.want.Secrets = append(x.want.Secrets, x.want.Deleted...)
	slices.SortFunc(x.want.Secrets, func(a, b oldstores.Secret) int { return strings.Compare(a.Path, b.Path) })
	x.want.Deleted = nil
	// Another secret with this path has since been created.
	if _, err := x.Undelete(x.Context(), parse(x, "gone/and/made/anew")); !errors.Is(err, seal.ErrExists) {
		x.Errorf("undelete over a secret: %v", err)
	}
}

func parse(t testing.TB, p string) acl.Path {
	t.Helper()
	parsed, err := acl.ParsePath(p)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// rekey finishes the rekey in progress, and checks that the old shares no longer
// unseal the store.
func (x *tester) rekey() {
	x.Helper()
	ctx := x.Context()
	old, err := x.InitInfo(ctx)
	if err != nil {
		x.Fatal(err)
	}
	rekey, err := x.RekeyStatus(ctx)
	want := x.want.Rekey
	if err != nil || rekey.Nonce != want.Nonce || rekey.Threshold != want.Threshold || rekey.Shares != len(want.Holders) || rekey.Rotate != want.Rotate {
		x.Fatalf("%+v, %v", rekey, err)
	}
	for i := range want.Threshold {
		if rekey, err = x.VerifyRekey(ctx, want.Nonce, []byte(x.share(want.Holders[i], rekey.Keys[i]))); err != nil {
			x.Fatal(err)
		}
	}
	if rekey.Active {
		x.Fatalf("verified, but still %+v", rekey)
	}
	wasBootstrap, oldHolders, oldThreshold := x.want.Bootstrap, x.want.Holders, x.want.Threshold
	x.want.Bootstrap, x.want.Holders, x.want.Threshold = false, want.Holders, want.Threshold
	if x.Status().HoldsBootstrapKey {
		x.Error("the bootstrap key is still there")
	}
	if _, err := x.Seal(ctx, "root"); err != nil {
		x.Fatal(err)
	}
	if wasBootstrap {
		if _, err := x.AutoUnseal(ctx, ""); !errors.Is(err, seal.ErrNoBootstrapKey) {
			x.Errorf("auto-unseal after the rekey: %v", err)
		}
	}
	for i := range min(oldThreshold, len(oldHolders)) {
		_, err := x.Unseal(ctx, []byte(x.share(oldHolders[i], old.Keys[i])))
		if !errors.Is(err, seal.ErrWrongKey) {
			x.Errorf("an old share after the rekey: %v", err)
		}
	}
	x.unseal(x.want.Holders, x.want.Threshold, false)
}

// awaitRotation waits for the rotation to end.
func (x *tester) awaitRotation() {
	x.Helper()
	x.await("the rotation", func() bool {
		info, err := x.RotationStatus(x.Context())
		return err == nil && info.Terms == 1 && info.State == seal.RotationIdle
	})
}

// write creates, purges, updates and deletes secrets, and adapts want to it.
func (x *tester) write() {
	x.Helper()
	ctx := x.Context()
	fresh := parse(x, "group/written/now")
	for n := range 2 {
		c := seal.Change{Kind: seal.Text, Value: fmt.Append(nil, n)}
		if _, err := x.Create(ctx, fresh, c); n == 0 && err != nil || n == 1 && !errors.Is(err, seal.ErrExists) {
			x.Fatal(err)
		}
	}
	if err := x.Purge(ctx, fresh, nil); err != nil {
		x.Fatal(err)
	}
	many := parse(x, "group/app/many")
	written, err := x.Update(ctx, many, seal.Change{Kind: seal.Text, Value: []byte("6")})
	if err != nil {
		x.Fatal(err)
	}
	got, err := x.Get(ctx, many, store.Latest)
	if err != nil || string(got.Value) != "6" || got.Version != 6 || got.ID != written.ID {
		x.Fatalf("%+v, %v", got, err)
	}
	if err := x.Delete(ctx, many, nil); err != nil {
		x.Fatal(err)
	}
	at := slices.IndexFunc(x.want.Secrets, func(s oldstores.Secret) bool { return s.Path == "group/app/many" })
	x.want.Secrets = slices.Delete(x.want.Secrets, at, at+1)
}

// TestChecksFindDamageInAnOldStore proves that the checks of these tests can
// fail: on records that do not open, and on unexpected values.
func TestChecksFindDamageInAnOldStore(t *testing.T) {
	dir := filepath.Join(stores, "holders-zookeeper")
	want, err := oldstores.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := oldstores.ReadDump(dir)
	if err != nil {
		t.Fatal(err)
	}
	type damage struct {
		what string
		dump func(*oldstores.Znode)
		want func(*oldstores.Store)
	}
	checked := func(d damage) error {
		b := memory.New()
		want := want
		want.Secrets = slices.Clone(want.Secrets)
		if d.want != nil {
			d.want(&want)
		}
		for _, z := range dump {
			z.Data = slices.Clone(z.Data)
			if d.dump != nil {
				d.dump(&z)
			}
			if len(z.Data) == 0 {
				continue
			}
			if _, err := b.Apply(t.Context(), store.Create(z.Path, z.Data)); err != nil {
				t.Fatal(err)
			}
		}
		s, end := openStore(t, b, "")
		defer end()
		(&tester{t, s, want}).unseal(want.Holders, want.Threshold, false)
		return check(t.Context(), s, want)
	}
	if err := checked(damage{}); err != nil {
		t.Fatalf("without damage: %v", err)
	}
	secret := regexp.MustCompile("^stores/default/secrets/../[^/]*/[^/]*$")
	for _, d := range []damage{
		{what: "a byte of each secret", dump: func(z *oldstores.Znode) {
			if secret.MatchString(z.Path) {
				z.Data[len(z.Data)/2] ^= 1
			}
		}},
		{what: "a byte of a piece", dump: func(z *oldstores.Znode) {
			if strings.HasPrefix(z.Path, "stores/default/blobs/") && strings.HasSuffix(z.Path, "/000001") {
				z.Data[len(z.Data)-1] ^= 1
			}
		}},
		{what: "missing deleted secrets", dump: func(z *oldstores.Znode) {
			if strings.HasPrefix(z.Path, "stores/default/deleted/") {
				z.Data = nil
			}
		}},
		{what: "an unexpected value", want: func(want *oldstores.Store) {
			want.Secrets[0].Values = slices.Clone(want.Secrets[0].Values)
			want.Secrets[0].Values[0].SHA256 = strings.Repeat("0", 64)
		}},
		{what: "an unexpected secret", want: func(want *oldstores.Store) { want.Secrets = want.Secrets[1:] }},
	} {
		if err := checked(d); err == nil {
			t.Errorf("not noticed: %s", d.what)
		}
	}
}
