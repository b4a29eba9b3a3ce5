package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/identities"
	"secretstore/store"
	"secretstore/store/memory"
)

// TestRekeyAndRotationKeepIdentities replaces the root key on one server, while both
// write, and has all records encrypted again.
func TestRekeyAndRotationKeepIdentities(t *testing.T) {
	ctx := t.Context()
	servers, _ := unsealedServers(t, memory.New(), 2)
	a, b := servers[0], servers[1]
	atA, atB := following(t, a), following(t, b)
	want := make(map[string]string)
	for i := range 30 {
		name := "user/" + strings.Repeat("x", i+1)
		want[name] = "1"
		atA.change(t, a, name+"=1")
	}
	awaitRecipients(t, a, 2)
	key, _, err := rotateRoot(t, a, false)
	if err != nil {
		t.Fatal(err)
	}
	settleRotation(t, a)
	for key, node := range dump(t, a.backend) {
		if strings.HasPrefix(key, barrier.KeyIAM+"/") && strings.Count(key, "/") == 4 && node.Data[7] != 2 {
			t.Errorf("%s is still under the old data key", key)
		}
	}
	atB.await(t, func(d *directory) bool { return d.at == 30 })
	atB.change(t, b, "user/new=1")
	atA.await(t, func(d *directory) bool { return d.at == 31 })
	want["user/new"] = "1"
	atA.wants(t, want, 0)
	atB.wants(t, want, 0)
	if _, err := a.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	settleRotation(t, a)
	if _, err := a.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*directory{atA, atB} {
		d.await(t, func(d *directory) bool { return d.records == nil })
	}
	if _, err := b.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	loaded(t, b, atB)
	atB.wants(t, want, 0)
	if f := b.Damage(); f.Damaged+f.Foreign > 0 {
		t.Errorf("damage: %+v", f)
	}
}

// TestSweepRestoresNoRemovedIdentity lets a rotation read a record, which is removed
// and made again with the same version before the rotation writes.
func TestSweepRestoresNoRemovedIdentity(t *testing.T) {
	b := &afterRead{Backend: &restarting{Backend: memory.New(), versions: make(map[store.Key][]store.Version)}}
	s, _ := unsealedOn(t, b)
	d := following(t, s)
	d.change(t, s, "user/alice=1")
	done := make(chan struct{})
	key, then := iamKey(t, s, "user/alice"), func() {
		defer close(done)
		d.change(t, s, "user/alice")
		d.change(t, s, "user/alice=2")
	}
	b.key.Store(&key)
	b.then.Store(&then)
	if _, err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	settleRotation(t, s)
	fresh := loadAfresh(t, s, b)
	fresh.wants(t, map[string]string{"user/alice": "2"}, 0)
}

// afterRead calls a function once, after the storage itself was asked for a record.
type afterRead struct {
	store.Backend
	key  atomic.Pointer[store.Key]
	then atomic.Pointer[func()]
}

func (b *afterRead) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	node, err := b.Backend.Get(ctx, key, c)
	if wanted := b.key.Load(); c == store.Latest && wanted != nil && *wanted == key {
		if then := b.then.Swap(nil); then != nil {
			(*then)()
		}
	}
	return node, err
}

// TestDamagedIdentitiesOfOneBucketLeaveTheRest spoils each kind of record before an
// unseal, and repairs it.
func TestDamagedIdentitiesOfOneBucketLeaveTheRest(t *testing.T) {
	b := memory.New()
	s, key := unsealedOn(t, b)
	d := following(t, s)
	d.change(t, s, "user/alice=1", "user/bob=1")
	alice := iamKey(t, s, "user/alice")
	bobsIndex := iamKey(t, s, "user/bob")
	bobsIndex = bobsIndex[:strings.LastIndexByte(bobsIndex, '/')]
	for _, c := range []struct {
		key  store.Key
		want map[string]string
		lost []string
	}{
		{alice, map[string]string{"user/bob": "1"}, []string{"user/alice"}},
		{bobsIndex, map[string]string{"user/alice": "1"}, []string{"user/bob"}},
		{barrier.KeyIAM, map[string]string{}, []string{"user/alice", "user/bob", "user/other"}},
	} {
		if _, err := s.Seal(t.Context(), "root"); err != nil {
			t.Fatal(err)
		}
		d.await(t, func(d *directory) bool { return d.records == nil })
		genuine := record(t, b, c.key)
		put(t, b, c.key, []byte("junk"))
		if _, err := s.Unseal(t.Context(), []byte(key)); err != nil {
			t.Fatal(err)
		}
		loaded(t, s, d)
		d.wants(t, c.want, 1)
		for _, name := range c.lost {
			if lost := s.Identities().(*identities.Identities).Lost(name); !lost {
				t.Errorf("%s spoilt: %s does not count as lost", c.key, name)
			}
		}
		if f := s.Damage(); f.Damaged != 1 || f.First[0].Key != c.key {
			t.Errorf("%s spoilt: %+v", c.key, f)
		}
		if err := d.try(t, s, c.lost[0]+"=2"); c.key != alice && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s spoilt: a change of what is not known: %v", c.key, err)
		} else if c.key == alice && err != nil {
			t.Errorf("a damaged record cannot be written again: %v", err)
		} else if c.key == alice {
			d.change(t, s, "user/alice=1")
			continue
		}
		put(t, b, c.key, genuine)
		d.await(t, func(d *directory) bool { return d.damaged == 0 })
		d.wants(t, map[string]string{"user/alice": "1", "user/bob": "1"}, 0)
	}
}

// TestRevokedRightStaysRevokedWhereTheNewRecordIsLost has an attacker put back the record of a user
// just when another server has taken a right away.
func TestRevokedRightStaysRevokedWhereTheNewRecordIsLost(t *testing.T) {
	b := memory.New()
	servers, _ := unsealedServers(t, b, 2)
	atA := following(t, servers[0])
	atA.change(t, servers[0], "user/bob=superuser")
	key := iamKey(t, servers[0], "user/bob")
	old := record(t, b, key)
	atA.change(t, servers[0], "user/bob=nothing")
	put(t, b, key, old)
	fresh := loadAfresh(t, servers[1], b.Attach())
	fresh.wants(t, map[string]string{}, 1)
	atA.await(t, func(d *directory) bool { return d.damaged == 1 })
	atA.wants(t, map[string]string{"user/bob": "nothing"}, 1)
}

// TestIdentitiesWithoutStorage: what is known stays, and Check says for how long it
// may be used as the backend does.
func TestIdentitiesWithoutStorage(t *testing.T) {
	b := memory.New()
	own := b.Attach()
	s, _ := unsealedOn(t, own)
	d := following(t, s)
	d.change(t, s, "user/alice=1")
	own.Close() // a memory backend serves nothing after that
	for s.Identities().Check() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := s.Identities().Check(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without storage: %v", err)
	}
	if err := d.try(t, s, "user/alice=2"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a change without storage: %v", err)
	}
	d.wants(t, map[string]string{"user/alice": "1"}, 0)
}

// TestStorageWithIdentitiesIsNotEmpty: without the records of the keys it is damaged.
func TestStorageWithIdentitiesIsNotEmpty(t *testing.T) {
	from := memory.New()
	s, _ := unsealedOn(t, from)
	following(t, s).change(t, s, "user/alice=1")
	only := memory.New()
	for key, node := range dump(t, from) {
		if strings.HasPrefix(key, barrier.KeyIAM) {
			put(t, only, key, node.Data)
		}
	}
	if st := open(t, only, false).Status(); st.State != StateDamaged || !strings.Contains(st.Detail, barrier.KeyIAM) {
		t.Errorf("%+v", st)
	}
}

// TestRecordBelowAnIdentityDoesNotKeepIt: who can write to the storage cannot keep a
// group from being removed.
func TestRecordBelowAnIdentityDoesNotKeepIt(t *testing.T) {
	s, b, _ := unsealed(t)
	d := following(t, s)
	d.change(t, s, "group/a=1", "group/b=1")
	key := iamKey(t, s, "group/a")
	put(t, b, key+"/"+hex.EncodeToString(bytes.Repeat([]byte{1}, 16)), []byte("junk"))
	d.change(t, s, "group/a")
	want := map[string]string{"group/b": "1"}
	d.await(t, func(d *directory) bool { return d.damaged == 1 })
	d.wants(t, want, 1)
	fresh := loadAfresh(t, s, b.Attach())
	fresh.wants(t, want, fresh.damaged)
}
