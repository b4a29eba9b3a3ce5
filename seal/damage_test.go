package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// forbidding is a backend that does not let this server use some records, like a
// ZooKeeper in which others have set ACLs.
type forbidding struct {
	store.Backend
	mu        sync.Mutex
	forbidden map[store.Key]bool // guarded by mu
}

func newForbidding() *forbidding {
	return &forbidding{Backend: memory.New(), forbidden: make(map[store.Key]bool)}
}

func (b *forbidding) forbid(key store.Key, forbidden bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forbidden[key] = forbidden
}

func (b *forbidding) check(key store.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forbidden[key] {
		return fmt.Errorf("%s: %w", key, store.ErrUnusable)
	}
	return nil
}

func (b *forbidding) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if err := b.check(key); err != nil {
		return store.Node{}, err
	}
	return b.Backend.Get(ctx, key, c)
}

func (b *forbidding) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if err := b.check(key); err != nil {
		return store.Listing{}, err
	}
	return b.Backend.Children(ctx, key, c)
}

// damaging is a store with some secrets, into whose storage others write.
type damaging struct {
	b         *forbidding
	s         *Store
	key       string    // unseals it
	folder    store.Key // of the secrets in f
	secret    store.Key // f/a
	elsewhere store.Key // a bucket without folders
}

func newDamaging(t *testing.T) *damaging {
	t.Helper()
	d := &damaging{b: newForbidding()}
	d.s, d.key = unsealedOn(t, d.b)
	for _, p := range []string{"top", "f/a", "f/b", "f/deep/c", "g/d"} {
		create(t, d.s, path(t, p), "v")
	}
	at, err := d.s.barrier.Locate(path(t, "f/a"))
	if err != nil {
		t.Fatal(err)
	}
	d.folder, d.secret = at.Folder, at.Key
	buckets, err := d.b.Backend.Children(t.Context(), barrier.KeySecrets, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 256 {
		if name := fmt.Sprintf("%02x", i); !slices.Contains(buckets.Names, name) {
			d.elsewhere = barrier.KeySecrets + "/" + name
			return d
		}
	}
	t.Fatal("all buckets have folders")
	return nil
}

// write writes a record, as another client of the storage does, and returns what
// removes it.
func (d *damaging) write(t *testing.T, key store.Key, data string) (undo func()) {
	t.Helper()
	if _, err := d.b.Apply(t.Context(), store.Create(key, []byte(data))); err != nil {
		t.Fatal(err)
	}
	return func() {
		node, err := d.b.Get(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.b.Apply(t.Context(), store.Delete(key, node.Version)); err != nil {
			t.Fatal(err)
		}
	}
}

// replace overwrites a record, and returns what puts it back.
func (d *damaging) replace(t *testing.T, key store.Key, with func([]byte) []byte) (undo func()) {
	t.Helper()
	set := func(data []byte) (before []byte) {
		node, err := d.b.Get(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.b.Apply(t.Context(), store.Set(key, data, node.Version)); err != nil {
			t.Fatal(err)
		}
		return node.Data
	}
	node, err := d.b.Get(t.Context(), key, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	set(with(bytes.Clone(node.Data)))
	return func() { set(node.Data) }
}

func (d *damaging) forbid(key store.Key) (undo func()) {
	d.b.forbid(key, true)
	return func() { d.b.forbid(key, false) }
}

// forget empties the caches, and forgets the damage, as a seal does.
func (d *damaging) forget(t *testing.T) {
	t.Helper()
	if _, err := d.s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.Unseal(t.Context(), []byte(d.key)); err != nil {
		t.Fatal(err)
	}
}

// The length of an id that a folder can have, after the name of its bucket.
var restOfID = strings.Repeat("0a", 15)

func (d *damaging) id() store.Key {
	return d.elsewhere + "/" + d.elsewhere[len(d.elsewhere)-2:] + restOfID
}

// damages are what others can do to the storage.
var damages = map[string]struct {
	do func(t *testing.T, d *damaging) (record store.Key, undo func())
	// in is the folder whose lists, and those above it, are incomplete. everywhere:
	// all lists are. foreign: it has no effect.
	in                  string
	everywhere, foreign bool
	missing             []string // what cannot be listed
}{
	"a junk bucket": {foreign: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		key := barrier.KeySecrets + "/junk"
		return key, d.write(t, key, "x")
	}},
	"a junk folder": {foreign: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		key := d.elsewhere + "/junk"
		return key, d.write(t, key, "x")
	}},
	"a folder of another bucket": {foreign: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		key := d.elsewhere + d.folder[strings.LastIndexByte(d.folder, '/'):]
		return key, d.write(t, key, "x")
	}},
	"a junk name": {foreign: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		key := d.folder + "/junk"
		return key, d.write(t, key, "x")
	}},
	"a folder with a junk record": {everywhere: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		return d.id(), d.write(t, d.id(), "x")
	}},
	"a folder that may not be read": {everywhere: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		remove, permit := d.write(t, d.id(), "x"), d.forbid(d.id())
		return d.id(), func() { permit(); remove() }
	}},
	"a bucket that may not be read": {everywhere: true, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		remove, permit := d.write(t, d.id(), "x"), d.forbid(d.elsewhere)
		return d.elsewhere, func() { permit(); remove() }
	}},
	"the folder of secrets may not be read": {everywhere: true, missing: []string{"f/a", "f/b"}, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		return d.folder, d.forbid(d.folder)
	}},
	"the folder of secrets has lost its path": {everywhere: true, missing: []string{"f/a", "f/b"}, do: func(t *testing.T, d *damaging) (store.Key, func()) {
		return d.folder, d.replace(t, d.folder, func(data []byte) []byte { return data[:len(data)-1] })
	}},
	"a name of another store": {in: "f", do: func(t *testing.T, d *damaging) (store.Key, func()) {
		key := d.folder + "/" + strings.Repeat("A", 64)
		return key, d.write(t, key, "x")
	}},
}

// TestOneBadRecordHurtsOnlyItself damages the storage in each way, and lists all
// folders: nothing else is missing, and the lists say whether they are complete.
func TestOneBadRecordHurtsOnlyItself(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDamaging(t)
			record, undo := damage.do(t, d)
			d.forget(t)
			for folder, want := range map[string][]string{"": {"f/a", "f/b", "f/deep/c", "g/d", "top"}, "f": {"a", "b", "deep/c"}, "f/deep": {"c"}, "g": {"d"}} {
				want = slices.DeleteFunc(want, func(n string) bool {
					return slices.Contains(damage.missing, strings.TrimPrefix(folder+"/"+n, "/"))
				})
				incomplete := damage.everywhere || damage.in != "" && (folder == "" || folder == damage.in)
				list := func(c store.Consistency) (Names, error) {
					f, err := acl.ParseFolder(folder)
					if err != nil {
						t.Fatal(err)
					}
					return d.s.List(t.Context(), f, Page{}, c)
				}
				got, err := list(store.Cached)
				if err != nil || !slices.Equal(got.Names, want) || got.Incomplete != incomplete {
					t.Errorf("list of %q: %+v, %v", folder, got, err)
				}
				_, err = list(store.Latest)
				var damaged *DamagedRecord
				if incomplete != errors.As(err, &damaged) || incomplete && damaged.Key != record {
					t.Errorf("list of %q from the storage itself: %v", folder, err)
				}
			}
			found := d.s.Damage()
			if damage.foreign && (found.Foreign != 1 || found.Damaged != 0) || !damage.foreign && (found.Damaged != 1 || found.First[0].Key != record) {
				t.Errorf("found %+v", found)
			}
			for _, p := range []string{"top", "f/a", "f/b", "f/deep/c", "g/d"} {
				if damaged := slices.Contains(damage.missing, p); damaged {
					continue // its own record can be read, but that is not the point
				}
				if got, err := d.s.Get(t.Context(), path(t, p), store.Latest); err != nil || string(got.Value) != "v" {
					t.Errorf("%s: %v", p, err)
				}
			}
			undo()
			if got, err := d.s.List(t.Context(), acl.Path{}, Page{}, store.Latest); err != nil || len(got.Names) != 5 || got.Incomplete {
				t.Errorf("afterwards: %+v, %v", got, err)
			}
			if found := d.s.Damage(); found.Damaged != 0 || found.Foreign != 0 {
				t.Errorf("afterwards there is %+v", found)
			}
		})
	}
}

// TestFolderThatCannotBeListedIsPlaced: the server knows its path, so only the
// lists above it are incomplete.
func TestFolderThatCannotBeListedIsPlaced(t *testing.T) {
	d := newDamaging(t)
	if _, err := d.s.List(t.Context(), acl.Path{}, Page{}, store.Cached); err != nil {
		t.Fatal(err)
	}
	d.forbid(d.folder)
	for folder, incomplete := range map[string]bool{"f": true, "g": false, "f/deep": false} {
		got, err := d.s.List(t.Context(), path(t, folder), Page{}, store.Cached)
		if err != nil || got.Incomplete != incomplete {
			t.Errorf("%s: %+v, %v", folder, got, err)
		}
	}
}

// TestPagesOfAnIncompleteListSaySo: the one that reads the damage does, however
// small it is.
func TestPagesOfAnIncompleteListSaySo(t *testing.T) {
	d := newDamaging(t)
	d.write(t, d.folder+"/"+strings.Repeat("A", 64), "x")
	var names []string
	incomplete := 0
	for page := (Page{Limit: 1}); ; {
		got, err := d.s.List(t.Context(), acl.Path{}, page, store.Cached)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, got.Names...)
		if got.Incomplete {
			incomplete++
		}
		if page.After = got.Next; got.Next == "" {
			break
		}
	}
	if len(names) != 5 || incomplete == 0 || incomplete == len(names) {
		t.Errorf("%d of the pages of %q are incomplete", incomplete, names)
	}
}

// TestRotationSaysWhatKeepsItFromFinishing damages the storage in each way: the
// rotation is stuck, names the record, has done all others, and ends once the
// damage is repaired.
func TestRotationSaysWhatKeepsItFromFinishing(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDamaging(t)
			record, undo := damage.do(t, d)
			defer undo()
			d.forget(t)
			if _, err := d.s.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if damage.foreign {
				waitForRotation(t, d.s, func(i RotationInfo) bool { return i.State == RotationIdle })
				return
			}
			info := waitForRotation(t, d.s, func(i RotationInfo) bool { return i.State == RotationStuck })
			if info.Terms != 2 || info.Damaged != 1 || info.DamagedRecord != record || !strings.Contains(info.Reason, record) || info.Counting {
				t.Errorf("%+v", info)
			}
			if info.Done != int64(5-len(damage.missing)) {
				t.Errorf("%d records are done", info.Done)
			}
			if found := d.s.Damage(); found.Damaged != 1 || found.First[0].Key != record {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// TestRotationWithoutAListingIsStuck: what keeps a sweep from even beginning has
// a reason, too, and nothing is counted.
func TestRotationWithoutAListingIsStuck(t *testing.T) {
	d := newDamaging(t)
	permit := d.forbid(barrier.KeySecrets)
	if _, err := d.s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	info := waitForRotation(t, d.s, func(i RotationInfo) bool { return i.State == RotationStuck })
	if !info.Counting || info.Done != 0 || !strings.Contains(info.Reason, barrier.KeySecrets) {
		t.Errorf("%+v", info)
	}
	if report, err := d.s.Keys(t.Context()); err != nil || report.Rotation.State != RotationStuck || !report.Rotation.Counting {
		t.Errorf("%+v, %v", report, err)
	}
	// Another server, which does not work on it, knows the reason.
	other := open(t, d.b, false)
	if _, err := other.Unseal(t.Context(), []byte(d.key)); err != nil {
		t.Fatal(err)
	}
	if other := waitForRotation(t, other, func(i RotationInfo) bool { return i.State == RotationStuck }); !strings.Contains(other.Reason, barrier.KeySecrets) {
		t.Errorf("elsewhere: %+v", other)
	}
	permit()
	waitForRotation(t, d.s, func(i RotationInfo) bool { return i.State == RotationIdle })
}

// TestRotationPastARecordThatMayNotBeRead: an ACL on one record is damage of
// that record, and not an outage.
func TestRotationPastARecordThatMayNotBeRead(t *testing.T) {
	d := newDamaging(t)
	d.forbid(d.secret)
	if _, err := d.s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	info := waitForRotation(t, d.s, func(i RotationInfo) bool { return i.State == RotationStuck })
	if info.DamagedRecord != d.secret || info.Done != 4 {
		t.Errorf("%+v", info)
	}
	_, err := d.s.Get(t.Context(), path(t, "f/a"), store.Cached)
	var damaged *DamagedRecord
	if !errors.As(err, &damaged) || damaged.Key != d.secret || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read: %v", err)
	}
}

// TestStreamsSayThatRecordsAreSkipped, and continue for all others.
func TestStreamsSayThatRecordsAreSkipped(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDamaging(t)
			record, undo := damage.do(t, d)
			d.forget(t)
			all, g := stream(t, d.s, ""), stream(t, d.s, "g")
			incomplete := Event{Kind: EventIncomplete}
			if !damage.foreign {
				awaitEvents(t, all, incomplete)
			}
			if damage.everywhere {
				awaitEvents(t, g, incomplete)
			}
			changed := Event{Kind: EventChanged, Path: path(t, "g/d")}
			replace(t, d.s, changed.Path, "w")
			for st, before := range map[*Stream]int{all: 1, g: 1} {
				if got := awaitEvents(t, st, changed); len(got) != before {
					t.Errorf("events %+v", got)
				}
			}
			undo()
			if damage.foreign || !strings.HasPrefix(record, d.elsewhere) && damage.in == "" || strings.Contains(name, "may not") {
				return // no change is reported: the stream looks again after a minute
			}
			awaitEvents(t, all, Event{Kind: EventResync})
		})
	}
}

// TestAStreamThatBeginsBeforeTheDamageLearnsOfIt, and of its end.
func TestAStreamThatBeginsBeforeTheDamageLearnsOfIt(t *testing.T) {
	d := newDamaging(t)
	f, g := stream(t, d.s, "f"), stream(t, d.s, "g")
	undo := d.write(t, d.folder+"/"+strings.Repeat("A", 64), "x")
	awaitEvents(t, f, Event{Kind: EventIncomplete})
	undo()
	awaitEvents(t, f, Event{Kind: EventResync})
	replace(t, d.s, path(t, "g/d"), "w")
	if got := awaitEvents(t, g, Event{Kind: EventChanged, Path: path(t, "g/d")}); len(got) != 1 {
		t.Errorf("a stream of another folder: %+v", got)
	}
}

// TestExpiryAndCollectionPassDamagedRecords: one junk record in each place must
// not keep what lies behind it for ever.
func TestExpiryAndCollectionPassDamagedRecords(t *testing.T) {
	d := newDamaging(t)
	ctx := t.Context()
	large := Change{Kind: Binary, Value: make([]byte, 300<<10)}
	if _, err := d.s.Create(ctx, path(t, "f/large"), large); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"f/a", "g/d", "top"} {
		if err := d.s.Delete(ctx, path(t, p), nil); err != nil {
			t.Fatal(err)
		}
	}
	deletedBucket := barrier.KeyDeleted + d.elsewhere[len(barrier.KeySecrets):]
	d.write(t, barrier.KeyDeleted+"/junk", "x")
	d.write(t, deletedBucket+"/junk", "x")
	d.write(t, barrier.DeletedKey(d.id())+"/"+strings.Repeat("A", 64), "x")
	d.write(t, barrier.DeletedKey(d.folder)+"/junk", "x")
	unreadable := barrier.DeletedKey(d.folder) + "/" + strings.Repeat("B", 63) + "A"
	d.write(t, unreadable, "x")
	d.forbid(unreadable)
	d.forbid(barrier.DeletedKey(d.secret))
	if err := d.s.collector.Expire(ctx, map[store.Key]time.Time{}, time.Now().Add(UndeleteFor+time.Hour)); err != nil {
		t.Error(err)
	}
	for p, want := range map[string]bool{"f/a": true, "g/d": false, "top": false} {
		at, err := d.s.barrier.Locate(path(t, p))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.b.Backend.Get(ctx, at.Deleted().Key, store.Latest)
		if left := err == nil; left != want {
			t.Errorf("%s is left: %v (%v)", p, left, err)
		}
	}
	if found := d.s.Damage(); found.Damaged != 3 || found.Foreign != 3 {
		t.Errorf("expiry found %+v", found)
	}

	blobs, err := d.b.Children(ctx, barrier.KeyBlobs, store.Latest)
	if err != nil || len(blobs.Names) != 1 {
		t.Fatal(blobs, err)
	}
	// The blob is that of f/large, so it is left. Those of nobody are before and
	// behind damaged ones.
	for _, c := range "08f" {
		d.write(t, barrier.KeyBlobs+"/"+strings.Repeat(string(c), 32), "junk")
	}
	forbidden := barrier.KeyBlobs + "/" + strings.Repeat("0", 32)
	d.forbid(forbidden)
	orphan := barrier.KeyBlobs + "/" + strings.Repeat("e", 32) + "/000000"
	d.write(t, orphan, "a piece without a head")
	seen := map[store.Key]time.Time{}
	for _, now := range []time.Time{time.Now(), time.Now().Add(time.Hour)} {
		if err := d.s.collector.CollectBlobs(ctx, seen, now); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.b.Backend.Get(ctx, orphan, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what lies behind damaged blobs is not collected: %v", err)
	}
	if got, err := d.s.Get(ctx, path(t, "f/large"), store.Latest); err != nil || !bytes.Equal(got.Value, large.Value) {
		t.Error("a large value is lost", err)
	}
	if found := d.s.Damage(); found.Damaged != 6 {
		t.Errorf("collection found %+v", found)
	}
}

// TestDamageOfASecretIsForgottenOnceItReads: what an operator sees in the status
// does not outlive the repair.
func TestDamageOfASecretIsForgottenOnceItReads(t *testing.T) {
	d := newDamaging(t)
	undo := d.replace(t, d.secret, func(data []byte) []byte { data[len(data)-1] ^= 1; return data })
	_, err := d.s.Get(t.Context(), path(t, "f/a"), store.Cached)
	wantErr(t, "a damaged secret", err, ErrCorrupt)
	if found := d.s.Damage(); found.Damaged != 1 || found.First[0].Key != d.secret || found.First[0].Reason() == "" {
		t.Errorf("found %+v", found)
	}
	if got, err := d.s.List(t.Context(), acl.Path{}, Page{}, store.Latest); err != nil || got.Incomplete || len(got.Names) != 5 {
		t.Errorf("its name is in order: %+v, %v", got, err)
	}
	undo()
	if _, err := d.s.Get(t.Context(), path(t, "f/a"), store.Cached); err != nil {
		t.Error(err)
	}
	if found := d.s.Damage(); found.Damaged != 0 {
		t.Errorf("afterwards there is %+v", found)
	}
}
