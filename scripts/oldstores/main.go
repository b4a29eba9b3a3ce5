//go:build oldstores

// Command oldstores makes the stores in testdata/stores. It runs inside the
// source of the release that is to make them: see scripts/make-old-stores. Its
// only change to that release is a clock: deletes are dated a hundred years
// ahead, so that deleted secrets do not expire in a test.
package main

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/internal/oldstores"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/zk"
)

// largeSize is above 128 KiB, where values are kept in pieces.
const largeSize = 140_000

// variant is one store, which is made on each backend.
type variant struct {
	name      string
	bootstrap bool
	holders   []int // without bootstrap
	threshold int
	large     bool             // with values in pieces
	sealed    bool             // on purpose
	rekey     *oldstores.Rekey // to be begun
	rotation  bool             // to be left half done, twice
}

var variants = []variant{
	{name: "bootstrap", bootstrap: true, large: true},
	{name: "holders", holders: []int{1, 2, 3}, threshold: 2, large: true, sealed: true},
	{name: "rekey", holders: []int{1, 2, 3}, threshold: 2, rekey: &oldstores.Rekey{Holders: []int{2, 3, 4}, Threshold: 2, Rotate: true}},
	{name: "rekey-bootstrap", bootstrap: true, rekey: &oldstores.Rekey{Holders: []int{1}, Threshold: 1}},
	{name: "rotation", holders: []int{1, 2, 3}, threshold: 2, large: true, rotation: true},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: oldstores FOLDER ZOOKEEPER")
	}
	folder, zookeeper := os.Args[1], os.Args[2]
	if err := makeHolders(folder, 4); err != nil {
		log.Fatal(err)
	}
	for _, v := range variants {
		for _, make := range []func(string, string, variant) error{makeOnBolt, makeOnZooKeeper} {
			if err := make(folder, zookeeper, v); err != nil {
				log.Fatalf("%s: %v", v.name, err)
			}
		}
	}
}

// makeHolders makes the key pairs of the holders.
func makeHolders(folder string, n int) error {
	for holder := 1; holder <= n; holder++ {
		entity, err := openpgp.NewEntity(fmt.Sprintf("TEST KEY %d of secretstore", holder), "not secret", "",
			&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519})
		if err != nil {
			return err
		}
		name := filepath.Join(folder, oldstores.HolderFile(holder))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		w, err := armor.Encode(file, openpgp.PrivateKeyType, map[string]string{"Comment": "A test key. It protects nothing."})
		if err != nil {
			return err
		}
		if err := errors.Join(entity.SerializePrivate(w, nil), w.Close(), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// publicKeys returns the holders' public keys as Init takes them.
func publicKeys(folder string, holders []int) (all []string, err error) {
	for _, holder := range holders {
		key, err := oldstores.PublicKey(folder, holder)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// gate lets so many re-encryptions of a rotation through, and refuses others.
type gate struct {
	left   atomic.Int64
	passed atomic.Int64 // with success
}

// apply is Apply of a backend behind the gate.
func (g *gate) apply(ctx context.Context, b store.Backend, ops []store.Op) ([]store.Version, error) {
	if !slices.ContainsFunc(ops, func(op store.Op) bool { return op.Quiet }) {
		return b.Apply(ctx, ops...)
	}
	if g.left.Add(-1) < 0 {
		return nil, store.ErrUnavailable
	}
	// The first refusal cancels all that are under way.
	versions, err := b.Apply(context.WithoutCancel(ctx), ops...)
	if err == nil {
		g.passed.Add(1)
	} else {
		g.left.Add(1)
	}
	return versions, err
}

type gatedBolt struct {
	*bolt.Backend
	gate *gate
}

func (b gatedBolt) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	return b.gate.apply(ctx, b.Backend, ops)
}

type gatedZooKeeper struct {
	*zk.Backend
	gate *gate
}

func (b gatedZooKeeper) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	return b.gate.apply(ctx, b.Backend, ops)
}

func makeOnBolt(folder, _ string, v variant) error {
	dir := filepath.Join(folder, v.name+"-bolt")
	work, err := os.MkdirTemp("", "oldstores")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(work, "store.db")
	b, err := bolt.Open(context.Background(), file)
	if err != nil {
		return err
	}
	g := &gate{}
	if err := v.fill(folder, dir, gatedBolt{b, g}, g, file+".bootstrap.key"); err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	packed, err := os.Create(filepath.Join(dir, oldstores.BoltFile))
	if err != nil {
		return err
	}
	w, _ := gzip.NewWriterLevel(packed, gzip.BestCompression)
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close(), packed.Close()); err != nil {
		return err
	}
	key, err := os.ReadFile(file + ".bootstrap.key")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.WriteFile(filepath.Join(dir, oldstores.BootstrapFile), key, 0o644))
}

func makeOnZooKeeper(folder, zookeeper string, v variant) error {
	dir := filepath.Join(folder, v.name+"-zookeeper")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := "/old/" + v.name
	b, err := zk.Open(context.Background(), zk.Config{Servers: []string{zookeeper}, Root: root})
	if err != nil {
		return err
	}
	g := &gate{}
	if err := v.fill(folder, dir, gatedZooKeeper{b, g}, g, ""); err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	conn, _, err := zkc.Connect([]string{zookeeper}, 10*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		return err
	}
	defer conn.Close()
	out, err := os.Create(filepath.Join(dir, oldstores.DumpFile))
	if err != nil {
		return err
	}
	return errors.Join(dump(conn, root, "", json.NewEncoder(out)), out.Close())
}

// dump writes what is below a znode, parents first. What lives with a session
// is left out: a dump is made with the servers stopped.
func dump(conn *zkc.Conn, root, below string, out *json.Encoder) error {
	children, _, err := conn.Children(path.Join(root, below))
	if err != nil {
		return err
	}
	slices.Sort(children)
	for _, child := range children {
		at := path.Join(below, child)
		data, stat, err := conn.Get(path.Join(root, at))
		if err != nil {
			return err
		}
		if stat.EphemeralOwner != 0 {
			continue
		}
		if err := out.Encode(oldstores.Znode{Path: at, Data: data}); err != nil {
			return err
		}
		if err := dump(conn, root, at, out); err != nil {
			return err
		}
	}
	return nil
}

// filler makes one store.
type filler struct {
	*seal.Store
	variant
	folder string // of the stores
	gate   *gate
	want   oldstores.Store
}

func (v variant) fill(folder, dir string, b store.Backend, g *gate, keyFile string) error {
	ctx := context.Background()
	s, err := seal.Open(ctx, seal.Options{Backend: b, Bootstrap: v.bootstrap, BootstrapKeyFile: keyFile, KeepVersions: 3, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	f := &filler{Store: s, variant: v, folder: folder, gate: g}
	for _, step := range []func(context.Context) error{f.open, f.write, f.remove, f.spend, f.rotate, f.beginRekey, f.record} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if v.sealed {
		if _, err := s.Seal(ctx); err != nil {
			return err
		}
	}
	g.left.Store(0)
	if err := s.Close(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(f.want, "", "  ")
	if err != nil {
		return err
	}
	log.Printf("%s: %d secrets, %d deleted, %d terms", dir, len(f.want.Secrets), len(f.want.Deleted), f.want.Terms)
	return os.WriteFile(filepath.Join(dir, oldstores.ExpectedFile), append(data, '\n'), 0o644)
}

// open makes the keys and unseals.
func (f *filler) open(ctx context.Context) error {
	if !f.bootstrap {
		keys, err := publicKeys(f.folder, f.holders)
		if err != nil {
			return err
		}
		info, err := f.Init(ctx, seal.InitParams{Shares: len(keys), Threshold: f.threshold, PGPKeys: keys, By: "root"})
		if err != nil {
			return err
		}
		for i := range f.threshold {
			share, err := oldstores.Share(f.folder, f.holders[i], info.Keys[i])
			if err != nil {
				return err
			}
			if _, err := f.Unseal(ctx, share); err != nil {
				return err
			}
		}
	}
	for f.Status().State != seal.StateUnsealed {
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func parse(p string) acl.Path {
	parsed, err := acl.ParsePath(p)
	if err != nil {
		panic(err)
	}
	return parsed
}

// put creates a secret, or writes its next value. Nil metadata stays.
func (f *filler) put(ctx context.Context, p string, kind seal.Kind, value string, description *string, labels *[]string) error {
	c := seal.Change{Kind: kind, Value: []byte(value), Description: description, Labels: labels, Author: "alice"}
	_, err := f.Create(ctx, parse(p), c)
	if errors.Is(err, seal.ErrExists) {
		_, err = f.Update(ctx, parse(p), c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

// noise returns bytes that are the same in each run.
func noise(n int, seed byte) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

var (
	description = "What it is for: ä€𝄞 \"quoted\""
	labels      = []string{"team:db", "stage:prod", ""}
	none        = []string{}
	long        = "edge/" + strings.Repeat("n", 255) + "/a.b-c_d"
	deep        = "deep" + strings.Repeat("/d", 31)
)

// write writes the secrets. Those in pieces are created small, so that there
// are versions of both forms.
func (f *filler) write(ctx context.Context) error {
	type value struct {
		path        string
		kind        seal.Kind
		value       string
		description *string
		labels      *[]string
	}
	all := []value{
		{"top", seal.Text, "at the root", nil, nil},
		{"group/app/password", seal.Text, "first", &description, &labels},
		{"group/app/password", seal.Text, "second ä€𝄞\n", nil, nil},
		{"group/app/password", seal.Text, "third", nil, nil},
		{"group/app/many", seal.Text, "1", nil, nil},
		{"group/app/many", seal.Text, "2", nil, nil},
		{"group/app/many", seal.Text, "3", nil, nil},
		{"group/app/many", seal.Text, "4", nil, nil},
		{"group/app/many", seal.Text, "5", nil, nil}, // the first is not kept
		{"group/app/empty", seal.Text, "", nil, nil},
		{"group/app", seal.Text, "a secret with the path of a folder", nil, nil},
		{"group/app/binary", seal.Binary, noise(300, 1), nil, &labels},
		{"group/turns", seal.Text, "text", &description, nil},
		{"group/turns", seal.Binary, "\x00\xff", nil, nil},
		{"group/turns", seal.Text, "text again", nil, &none},
		{"group/middle", seal.Text, noiseText(9000, 2), nil, nil}, // more than the history holds
		{"group/middle", seal.Text, "short", nil, nil},
		{"group/without-two", seal.Text, "v1", nil, nil},
		{"group/without-two", seal.Text, "v2", nil, nil},
		{"group/without-two", seal.Text, "v3", nil, nil},
		{long, seal.Text, "a long name", nil, nil},
		{deep, seal.Text, "a long way down", nil, nil},
		{"gone/small", seal.Text, "old", &description, &labels},
		{"gone/small", seal.Binary, "new", nil, nil},
		{"gone/and/made/anew", seal.Text, "before", nil, nil},
	}
	if f.large {
		all = append(all,
			value{"large/now", seal.Text, "small before", nil, nil},
			value{"large/now", seal.Binary, noise(largeSize, 3), nil, nil},
			value{"large/gone", seal.Text, noiseText(largeSize, 4), &description, nil})
	}
	for _, v := range all {
		if err := f.put(ctx, v.path, v.kind, v.value, v.description, v.labels); err != nil {
			return err
		}
	}
	return f.DeleteVersion(ctx, parse("group/without-two"), 2, nil)
}

func noiseText(n int, seed byte) string { return hex.EncodeToString([]byte(noise(n/2, seed))) }

// remove deletes secrets, and makes one of them again.
func (f *filler) remove(ctx context.Context) error {
	gone := []string{"gone/small", "gone/and/made/anew"}
	if f.large {
		gone = append(gone, "large/gone")
	}
	for _, p := range gone {
		if p != "gone/and/made/anew" {
			secret, err := f.read(ctx, p)
			if err != nil {
				return err
			}
			f.want.Deleted = append(f.want.Deleted, secret)
		}
		if err := f.DeleteAt(ctx, parse(p), nil, time.Now().AddDate(100, 0, 0)); err != nil {
			return err
		}
	}
	return f.put(ctx, "gone/and/made/anew", seal.Text, "after", nil, nil)
}

// spend uses a task token once of three times.
func (f *filler) spend(ctx context.Context) error {
	f.want.Task = oldstores.Task{ID: "0123456789abcdef0123456789abcdef", Expires: time.Now().AddDate(100, 0, 0).UTC().Truncate(time.Second), Uses: 3, Spent: 1}
	return f.SpendTask(ctx, f.want.Task.ID, f.want.Task.Expires, f.want.Task.Uses)
}

// rotate begins two rotations, of which the second gets through fewer records
// than the first: at the end there are records under three terms.
func (f *filler) rotate(ctx context.Context) error {
	if !f.rotation {
		return nil
	}
	passed := int64(0)
	for n, more := range []int64{6, 2} {
		f.gate.left.Store(more)
		if _, err := f.Rotate(ctx); err != nil {
			return err
		}
		if err := f.put(ctx, "group/rotated", seal.Text, fmt.Sprintf("written after %d rotations", n+1), nil, nil); err != nil {
			return err
		}
		for passed += more; f.gate.passed.Load() < passed; {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// beginRekey begins the rekey and leaves it to be verified.
func (f *filler) beginRekey(ctx context.Context) error {
	if f.rekey == nil {
		return nil
	}
	keys, err := publicKeys(f.folder, f.rekey.Holders)
	if err != nil {
		return err
	}
	info, err := f.InitInfo(ctx)
	if err != nil {
		return err
	}
	p := seal.RekeyParams{InitParams: seal.InitParams{Shares: len(keys), Threshold: f.rekey.Threshold, PGPKeys: keys, By: "root"}, Rotate: f.rekey.Rotate}
	for i := 0; !f.bootstrap && i < f.threshold; i++ {
		share, err := oldstores.Share(f.folder, f.holders[i], info.Keys[i])
		if err != nil {
			return err
		}
		p.Current = append(p.Current, share)
	}
	begun, err := f.StartRekey(ctx, p)
	if err != nil {
		return err
	}
	rekey := *f.rekey
	rekey.Nonce = begun.Nonce
	f.want.Rekey = &rekey
	return nil
}

// record reads back what the store holds.
func (f *filler) record(ctx context.Context) error {
	status := f.Status()
	rotation, err := f.RotationStatus(ctx)
	if err != nil {
		return err
	}
	f.want.UUID, f.want.Threshold, f.want.Terms = status.UUID, status.Threshold, rotation.Terms
	f.want.Bootstrap, f.want.Holders, f.want.SealedOnPurpose = f.bootstrap, f.holders, f.sealed
	names, err := f.List(ctx, acl.Path{}, seal.Page{}, store.Latest)
	if err != nil {
		return err
	}
	for _, name := range names.Names {
		secret, err := f.read(ctx, name)
		if err != nil {
			return err
		}
		f.want.Secrets = append(f.want.Secrets, secret)
	}
	return nil
}

func (f *filler) read(ctx context.Context, name string) (oldstores.Secret, error) {
	current, err := f.Get(ctx, parse(name), store.Latest)
	if err != nil {
		return oldstores.Secret{}, err
	}
	secret := oldstores.Secret{Path: name, Description: current.Description, Labels: current.Labels, Author: current.Author, Created: current.Created}
	versions, err := f.Versions(ctx, parse(name), store.Latest)
	if err != nil {
		return oldstores.Secret{}, err
	}
	for _, v := range versions.Versions {
		one, err := f.GetVersion(ctx, parse(name), v.Version, store.Latest)
		if err != nil {
			return oldstores.Secret{}, err
		}
		sum := sha256.Sum256(one.Value)
		value := oldstores.Value{Version: one.Version, ID: one.ID, Kind: int(one.Kind), Written: one.Written, Size: len(one.Value), SHA256: hex.EncodeToString(sum[:])}
		if one.Kind == seal.Text && len(one.Value) <= 100 {
			value.Text = string(one.Value)
		}
		secret.Values = append(secret.Values, value)
	}
	return secret, nil
}
