//go:build long && zookeeper

package seal

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/bolt"
)

// TestManyIdentitiesLoad logs how long 10,000 users, 1,000 groups and 100,000 grants
// take to load after an unseal.
func TestManyIdentitiesLoad(t *testing.T) {
	server := zktest.Start(t)
	file, err := bolt.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, b := range map[string]store.Backend{"bolt": file, "ZooKeeper": zkBackend(t, server)} {
		s, key := unsealedOn(t, b)
		d := following(t, s)
		var put []iam.Record
		add := func(e iam.Entry, of string, i int) {
			data, err := iam.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			put = append(put, iam.Record{Name: fmt.Sprint(of, "/", i), Data: data})
			if len(put) == 200 {
				at, _, _ := d.known()
				mustSucceed(t, s.Identities().Apply(t.Context(), at, put, nil))
				put = nil
			}
		}
		var grants []iam.Grant
		for i := range 10 {
			rid, err := iam.ParseRID(fmt.Sprintf("dcos:secrets:default:/team/application-%d/*", i))
			if err != nil {
				t.Fatal(err)
			}
			grants = append(grants, iam.Grant{RID: rid, ACL: iam.Generation{1}, Action: acl.Read})
		}
		for i := range 10_000 {
			add(&iam.User{UID: iam.UID(fmt.Sprint("user-", i)), Hash: string(make([]byte, 100)), Generation: iam.Generation{1}, Grants: grants}, "user", i)
		}
		for i := range 1000 {
			add(&iam.Group{GID: iam.GID(fmt.Sprint("group-", i)), Generation: iam.Generation{1}}, "group", i)
		}
		if _, err := s.Seal(t.Context(), "root"); err != nil {
			t.Fatal(err)
		}
		d.await(t, func(d *directory) bool { return d.records == nil })
		if name == "ZooKeeper" { // a server that has nothing in memory
			s, d = open(t, zkBackend(t, server), false), &directory{}
			s.Identities().Follow(d)
			await(t, s, func(st State) bool { return st == StateSealed })
		}
		started := time.Now()
		if _, err := s.Unseal(t.Context(), []byte(key)); err != nil {
			t.Fatal(err)
		}
		loaded(t, s, d)
		took := time.Since(started)
		if _, known, damaged := d.known(); len(known) != 11_000 || damaged != 0 {
			t.Errorf("%s: %d records, %d damaged", name, len(known), damaged)
		}
		t.Logf("%s: loaded %v after the unseal", name, took)
		started = time.Now()
		d.change(t, s, "user/0=new")
		t.Logf("%s: a change took %v", name, time.Since(started))
	}
}
