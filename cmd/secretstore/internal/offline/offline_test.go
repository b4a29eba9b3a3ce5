package offline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
	"secretstore/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, name string) acl.Path {
	t.Helper()
	p, err := acl.ParsePath(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fill makes a store with these secrets on a bbolt file, and returns the file's
// backend and the share that opens it.
func fill(t *testing.T, names ...string) (*bolt.Backend, Info, string) {
	t.Helper()
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "s.db")
	if err := fixture.Bootstrapped(file); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	st, err := seal.Open(ctx, seal.Options{Backend: b, Bootstrap: true, BootstrapKeyFile: file + ".bootstrap.key", GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, st, seal.StateUnsealed)
	for _, name := range names {
		if _, err := st.Create(ctx, parse(t, name), seal.Change{Kind: seal.Text, Value: []byte("value of " + name)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := Look(ctx, b)
	if err != nil || info.Shares != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	share, err := BootstrapShare(ctx, b, file+".bootstrap.key", info)
	if err != nil {
		t.Fatal(err)
	}
	return b, info, share
}

// await waits for a state: on a busy machine Open returns before the storage has
// answered.
func await(t *testing.T, st *seal.Store, want seal.State) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); st.Status().State != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still %+v", st.Status())
		}
	}
}

func exportTo(t *testing.T, b store.Backend, share string, scope acl.Path, sink Sink) (Index, error) {
	t.Helper()
	st, err := seal.Recover(t.Context(), b, []string{share})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	return Export(t.Context(), st, "uuid", scope, sink)
}

// files is a Sink in memory that refuses a name twice, as a file system does,
// and a folder where there is a file.
type files map[string][]byte

func (f files) Put(name string, data []byte) error {
	for have := range f {
		if have == name || strings.HasPrefix(name, have+"/") || strings.HasPrefix(have, name+"/") {
			return fmt.Errorf("%s meets %s", name, have)
		}
	}
	f[name] = bytes.Clone(data)
	return nil
}

func TestEverySecretGetsAFileOfItsOwn(t *testing.T) {
	names := []string{"a", "a/b", "a/b/c", "a-b", "a.secret", "index.json", "index.json/x", "z"}
	b, _, share := fill(t, names...)
	got := files{}
	index, err := exportTo(t, b, share, acl.Path{}, got)
	if err != nil || index.Failed != 0 || len(index.Secrets) != len(names) || index.File != OtherIndexName {
		t.Fatalf("%+v, %v", index, err)
	}
	for _, e := range index.Secrets {
		if string(got[e.File]) != "value of "+e.Path {
			t.Errorf("%s: %q", e.File, got[e.File])
		}
	}
	if bytes.Contains(got[index.File], []byte("value of")) {
		t.Error("the index holds values")
	}
	var again Index
	if err := json.Unmarshal(got[index.File], &again); err != nil || len(again.Secrets) != len(names) {
		t.Errorf("%+v, %v", again, err)
	}

	for scope, want := range map[string][]string{"a": {"a", "a/b", "a/b/c"}, "a/b/c": {"a/b/c"}, "nobody": nil, "index.json": {"index.json", "index.json/x"}} {
		index, err := exportTo(t, b, share, parse(t, scope), files{})
		var paths []string
		for _, e := range index.Secrets {
			paths = append(paths, e.Path)
		}
		if err != nil || !slices.Equal(paths, want) {
			t.Errorf("%s: %v, %v", scope, paths, err)
		}
	}
}

// TestADamagedSecretCostsItselfAlone flips a bit in one record.
func TestADamagedSecretCostsItselfAlone(t *testing.T) {
	b, _, share := fill(t, "a", "b", "c")
	ctx := t.Context()
	bucket, err := children(ctx, b, keySecrets)
	if err != nil || len(bucket) != 1 {
		t.Fatal(bucket, err)
	}
	folder := keySecrets + "/" + bucket[0]
	ids, _ := children(ctx, b, folder)
	folder += "/" + ids[0]
	secrets, _ := children(ctx, b, folder)
	node, err := get(ctx, b, folder+"/"+secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Clone(node.Data)
	data[len(data)-1] ^= 1
	if _, err := apply(ctx, b, store.Set(folder+"/"+secrets[0], data, node.Version)); err != nil {
		t.Fatal(err)
	}
	got := files{}
	index, err := exportTo(t, b, share, acl.Path{}, got)
	if err != nil || index.Failed != 1 || len(index.Secrets) != 3 || len(got) != 3 {
		t.Errorf("%+v, %v", index, err)
	}
}

// faulty fails an Apply, before or after it has had its effect.
type faulty struct {
	store.Backend
	left  int // writes until the fault
	after bool
}

var errFault = errors.New("fault")

func (f *faulty) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	f.left--
	if f.left != 0 {
		return f.Backend.Apply(ctx, ops...)
	}
	if f.after {
		if _, err := f.Backend.Apply(ctx, ops...); err != nil {
			return nil, err
		}
	}
	return nil, errFault
}

// bare lists a key that has had children, as ZooKeeper does.
type bare struct {
	*faulty
	seen map[string]map[string]bool
}

func (b *bare) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	list, err := b.faulty.Children(ctx, key, c)
	names := map[string]bool{}
	for _, n := range list.Names {
		names[n] = true
		if b.seen[key] == nil {
			b.seen[key] = map[string]bool{}
		}
		b.seen[key][n] = true
	}
	for n := range b.seen[key] {
		if !names[n] && b.seen[key][n] {
			list.Names = append(slices.Clone(list.Names), n)
		}
	}
	return list, err
}

func (b *bare) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	v, err := b.faulty.Apply(ctx, ops...)
	if err == nil {
		for _, op := range ops {
			if op.Kind == store.OpDelete {
				i := strings.LastIndexByte(op.Key, '/')
				delete(b.seen[op.Key[:max(i, 0)]], op.Key[i+1:])
			}
		}
	}
	return v, err
}

// TestInterruptedWipeCanContinue interrupts it at each write, before and after its
// effect: while a secret is left it can still be read, and a second run ends
// with an empty storage.
func TestInterruptedWipeCanContinue(t *testing.T) {
	original, _, share := fill(t, "a", "a/b", "c/d", "c/e")
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			b := copyOf(t, original)
			err := Wipe(t.Context(), &bare{&faulty{storetest.CheckUnchanged(t, b), at, after}, map[string]map[string]bool{}}, func(int) {})
			if err == nil {
				break
			}
			if !errors.Is(err, errFault) {
				t.Fatalf("write %d: %v", at, err)
			}
			n, err := Count(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				if index, err := exportTo(t, b, share, acl.Path{}, files{}); err != nil || len(index.Secrets) != n || index.Failed > 0 {
					t.Errorf("write %d: %d secrets are left, and %+v, %v", at, n, index, err)
				}
			}
			if err := Wipe(t.Context(), b, func(int) {}); err != nil {
				t.Fatalf("after write %d: %v", at, err)
			}
			if left, err := children(t.Context(), b, ""); err != nil || len(left) > 0 {
				t.Errorf("after write %d: %v is left, %v", at, left, err)
			}
			if at > 1000 {
				t.Fatal("the wipe does not end")
			}
		}
	}
}

// copyOf copies all records to a storage in memory.
func copyOf(t *testing.T, from store.Backend) store.Backend {
	t.Helper()
	to := memory.New()
	t.Cleanup(func() { to.Close() })
	var walk func(key string)
	walk = func(key string) {
		if node, err := get(t.Context(), from, key); key != "" && err == nil {
			if _, err := apply(t.Context(), to, store.Create(key, node.Data)); err != nil {
				t.Fatal(err)
			}
		}
		names, err := children(t.Context(), from, key)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			walk(strings.TrimPrefix(key+"/"+name, "/"))
		}
	}
	walk("")
	return to
}

// TestAFrozenStoreTakesNoWrites freezes it under a store that runs.
func TestAFrozenStoreTakesNoWrites(t *testing.T) {
	b, _, share := fill(t, "a")
	st, err := seal.Open(t.Context(), seal.Options{Backend: b, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	await(t, st, seal.StateSealed)
	if _, err := st.Unseal(t.Context(), []byte(share)); err != nil {
		t.Fatal(err)
	}
	if err := Freeze(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := st.Create(ctx, parse(t, "b"), seal.Change{Kind: seal.Text, Value: []byte("x")}); err == nil {
		t.Error("a write was taken")
	}
	if _, err := exportTo(t, b, share, acl.Path{}, files{}); err != nil {
		t.Error(err)
	}
	if err := Freeze(t.Context(), memory.New()); err != nil {
		t.Errorf("an empty storage: %v", err)
	}
}

func TestDirWritesNowhereElse(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	in := filepath.Join(dir, "in")
	d, err := OpenDir(in)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Put("a/b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(in, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "../x", "link", "link/x", "a/b/c", "/x"} {
		if err := d.Put(name, []byte("y")); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a link was followed")
	}
	if _, err := OpenDir(in); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("%v", err)
	}
}

// FuzzInfo: whatever the record holds, Look gives nothing that can be indexed
// out of range.
func FuzzInfo(f *testing.F) {
	f.Add([]byte(`{"uuid":"x","shares":1,"threshold":1,"keys":["ab"],"pgp_fingerprints":["cd"]}`))
	f.Add([]byte(`{"uuid":"x","threshold":2,"keys":["ab"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := parseInfo(data)
		if err == nil && (info.Threshold < 1 || len(info.Keys) < info.Threshold || info.UUID == "") {
			t.Errorf("%+v", info)
		}
	})
}

// TestWipeTakesDeletedSecretsAlong, with their pieces.
func TestWipeTakesDeletedSecretsAlong(t *testing.T) {
	b, _, share := fill(t, "a")
	ctx := t.Context()
	st, err := seal.Open(ctx, seal.Options{Backend: b, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	await(t, st, seal.StateSealed)
	if _, err := st.Unseal(ctx, []byte(share)); err != nil {
		t.Fatal(err)
	}
	large := seal.Change{Kind: seal.Binary, Value: make([]byte, 300<<10)}
	if _, err := st.Create(ctx, parse(t, "gone"), large); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(ctx, parse(t, "gone"), nil); err != nil {
		t.Fatal(err)
	}
	if n, err := Count(ctx, b); err != nil || n != 1 {
		t.Errorf("%d secrets, %v", n, err)
	}
	if deleted, identities, err := CountOthers(ctx, b); err != nil || deleted != 1 || identities != 0 {
		t.Errorf("%d deleted, %d identities, %v", deleted, identities, err)
	}
	if _, err := apply(ctx, b, store.Create(keyIAM+"/00/00aa", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if deleted, identities, err := CountOthers(ctx, b); err != nil || deleted != 1 || identities != 1 {
		t.Errorf("%d deleted, %d identities, %v", deleted, identities, err)
	}
	st.Close()
	if err := Wipe(ctx, b, func(int) {}); err != nil {
		t.Fatal(err)
	}
	if names, err := children(ctx, b, ""); err != nil || len(names) != 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestANewBackupIsWholeOrNotThere, and replaces nothing.
func TestANewBackupIsWholeOrNotThere(t *testing.T) {
	b, info, share := fill(t, "a", "b")
	st, err := seal.Recover(t.Context(), b, []string{share})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	name := filepath.Join(t.TempDir(), "s.backup")
	whole := func(w io.Writer) error { _, err := st.Backup(t.Context(), w, seal.BackupOptions{}); return err }
	for what, write := range map[string]func(io.Writer) error{
		"an error after it": func(w io.Writer) error { return errors.Join(whole(w), errors.New("failed")) },
		"a cut one":         func(w io.Writer) error { _, err := io.WriteString(w, "secretstore backup 1\n"); return err },
		"nothing":           func(io.Writer) error { return nil },
	} {
		if _, err := NewBackup(name, write); err == nil {
			t.Errorf("%s: no error", what)
		}
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m, err := NewBackup(name, whole)
	if err != nil || m.Store != info.UUID || m.Contents.Secrets != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := NewBackup(name, whole); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read, err := ReadBackup(f)
	if err != nil {
		t.Fatal(err)
	}
	keys := memory.New()
	defer keys.Close()
	if err := KeysOf(t.Context(), read, keys); err != nil {
		t.Fatal(err)
	}
	opened, err := seal.Recover(t.Context(), keys, []string{share})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if paths, _, err := Paths(t.Context(), opened, acl.Path{}); !opened.Made(read) || len(paths) != 0 || err != nil {
		t.Errorf("%v, %v", paths, err)
	}
}
