package seal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secretstore/iam"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// directory is what a listener of identities knows.
type directory struct {
	mu      sync.Mutex
	at      uint64
	records map[string]string // nil unless loaded
	damaged int
	calls   int
	changed chan struct{} // closed at the next call
}

func (d *directory) call(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.calls++
	if d.changed != nil {
		close(d.changed)
	}
	d.changed = make(chan struct{})
}

func (d *directory) Load(at uint64, all []iam.Record, damaged int) {
	d.call(func() {
		d.records = make(map[string]string)
		d.put(at, all, nil, damaged)
	})
}

func (d *directory) Change(at uint64, put []iam.Record, removed []string, damaged int) {
	d.call(func() { d.put(at, put, removed, damaged) })
}

func (d *directory) put(at uint64, put []iam.Record, removed []string, damaged int) {
	d.at, d.damaged = at, damaged
	for _, name := range removed {
		delete(d.records, name)
	}
	for _, r := range put {
		if len(r.Data) == 0 { // cannot be read
			delete(d.records, r.Name)
		} else {
			d.records[r.Name] = string(r.Data)
		}
	}
}

func (d *directory) Forget() { d.call(func() { d.records = nil }) }

// known returns what is known now.
func (d *directory) known() (at uint64, records map[string]string, damaged int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, maps.Clone(d.records), d.damaged
}

// await waits until a call has made ok true.
func (d *directory) await(t *testing.T, ok func(d *directory) bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		d.mu.Lock()
		done := ok(d)
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		next := d.changed
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-next:
		case <-limit:
			t.Fatalf("still at %d: %d records, %d damaged", d.at, len(d.records), d.damaged)
		}
	}
}

// following returns what s knows of the identities, once they are loaded.
func following(t *testing.T, s *Store) *directory {
	t.Helper()
	d := &directory{}
	s.Identities().Follow(d)
	loaded(t, s, d)
	return d
}

func loaded(t *testing.T, s *Store, d *directory) {
	t.Helper()
	d.await(t, func(d *directory) bool { return d.records != nil })
	for deadline := time.Now().Add(time.Minute); s.Identities().Check() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(s.Identities().Check())
		}
	}
}

// change writes records of d's server, NAME=DATA or NAME to remove one.
func (d *directory) change(t *testing.T, s *Store, changes ...string) {
	t.Helper()
	mustSucceed(t, d.try(t, s, changes...))
}

func (d *directory) try(t *testing.T, s *Store, changes ...string) error {
	at, _, _ := d.known()
	return apply(t, s, at, changes...)
}

// apply changes the records as they were at a change.
func apply(t *testing.T, s *Store, at uint64, changes ...string) error {
	var put []iam.Record
	var remove []string
	for _, c := range changes {
		if name, data, ok := strings.Cut(c, "="); ok {
			put = append(put, iam.Record{Name: name, Data: []byte(data)})
		} else {
			remove = append(remove, name)
		}
	}
	return s.Identities().Apply(t.Context(), at, put, remove)
}

func (d *directory) wants(t *testing.T, want map[string]string, damaged int) {
	t.Helper()
	_, got, bad := d.known()
	if !maps.Equal(got, want) || bad != damaged {
		t.Errorf("known are %v, and %d damaged; wanted %v, and %d damaged", got, bad, want, damaged)
	}
}

// iamKey returns the key of a record of the identities.
func iamKey(t *testing.T, s *Store, name string) store.Key {
	t.Helper()
	var hash barrier.IAMName
	mustSucceed(t, s.barrier.Use(func(k *barrier.Keys) error { hash = k.IAMName(name); return nil }))
	return fmt.Sprintf("%s/%x/%x", barrier.KeyIAM, hash[:1], hash[:])
}

// unsealedServers returns servers of one store, all unsealed, and the unseal key.
func unsealedServers(t *testing.T, b *memory.Backend, n int) ([]*Store, string) {
	t.Helper()
	first, key := unsealedOn(t, b)
	all := []*Store{first}
	for range n - 1 {
		s := open(t, b.Attach(), false)
		await(t, s, func(st State) bool { return st == StateSealed })
		if _, err := s.Unseal(t.Context(), []byte(key)); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all, key
}

func TestIdentitiesReachEveryServer(t *testing.T) {
	servers, key := unsealedServers(t, memory.New(), 2)
	a, b := servers[0], servers[1]
	atA, atB := following(t, a), following(t, b)
	atA.change(t, a, "user/alice=1", "user/bob=1")
	atB.await(t, func(d *directory) bool { return d.at == 1 })
	atB.change(t, b, "user/alice=2", "user/bob")
	atA.await(t, func(d *directory) bool { return d.at == 2 })
	want := map[string]string{"user/alice": "2"}
	atA.wants(t, want, 0)
	atB.wants(t, want, 0)
	if err := a.Identities().Apply(t.Context(), 1, []iam.Record{{Name: "user/alice", Data: []byte("3")}}, nil); !errors.Is(err, iam.ErrConflict) {
		t.Errorf("a change of an old state: %v", err)
	}

	// After a seal nothing is known, and after an unseal everything is.
	if _, err := a.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if err := a.Identities().Check(); !errors.Is(err, ErrSealed) {
		t.Errorf("sealed: %v", err)
	}
	if err := atA.try(t, a, "user/alice=3"); !errors.Is(err, ErrSealed) {
		t.Errorf("a change while sealed: %v", err)
	}
	for _, d := range []*directory{atA, atB} {
		d.await(t, func(d *directory) bool { return d.records == nil })
	}
	if _, err := a.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	loaded(t, a, atA)
	atA.wants(t, want, 0)
}

func TestStorageRevealsNoIdentities(t *testing.T) {
	s, b, _ := unsealed(t)
	d := following(t, s)
	canaries := []string{"canary-uid", "canary-gid", "canary-rid", "$6$rounds=canary"}
	for _, c := range canaries {
		d.change(t, s, "user/"+c+"=record of "+c)
	}
	records := dump(t, b)
	if len(records) < 4+4+1+5 {
		t.Fatalf("only %d records: the dump does not work", len(records))
	}
	for key, node := range records {
		for _, c := range canaries {
			if strings.Contains(key, c) || bytes.Contains(node.Data, []byte(c)) {
				t.Errorf("%s is visible in %s", c, key)
			}
		}
	}
}

// TestTwoServersNeverRemoveTheLastSuperuser has two servers each remove another one
// of two superusers, at the same time.
func TestTwoServersNeverRemoveTheLastSuperuser(t *testing.T) {
	servers, _ := unsealedServers(t, memory.New(), 2)
	dirs := []*directory{following(t, servers[0]), following(t, servers[1])}
	for round := range uint64(100) {
		dirs[0].change(t, servers[0], "super/0=yes", "super/1=yes")
		for _, d := range dirs {
			d.await(t, func(d *directory) bool { return d.records["super/0"] == "yes" && d.records["super/1"] == "yes" })
		}
		var race sync.WaitGroup
		for i, s := range servers {
			race.Go(func() {
				for {
					at, known, _ := dirs[i].known()
					if len(known) < 2 {
						return // it would be the last one
					}
					if err := apply(t, s, at, fmt.Sprintf("super/%d", i)); !errors.Is(err, iam.ErrConflict) {
						if err != nil {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		race.Wait()
		for _, d := range dirs {
			d.await(t, func(d *directory) bool { return d.at == 2*round+2 })
			if _, known, _ := d.known(); len(known) != 1 {
				t.Fatalf("round %d: superusers are %v", round, slices.Collect(maps.Keys(known)))
			}
		}
	}
}

func TestLargestRecordOfIdentitiesFits(t *testing.T) {
	s, _, key := unsealed(t)
	d := following(t, s)
	big := strings.Repeat("x", iam.MaxRecordBytes)
	name := strings.Repeat("n", iam.MaxRecordName)
	d.change(t, s, name+"="+big)
	if err := d.try(t, s, name+"="+big+"x"); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a record that is too large: %v", err)
	}
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	d.await(t, func(d *directory) bool { return d.records == nil })
	if _, err := s.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	loaded(t, s, d)
	if _, known, _ := d.known(); known[name] != big {
		t.Errorf("%d bytes were loaded", len(known[name]))
	}
}
