//go:build zookeeper

package zk_test

import (
	"errors"
	"testing"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk"
)

func TestWorldReadable(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	c := raw(t, server)
	p := newProxy(t, server)
	plain := prompt(t, p.Addr())
	withUser := prompt(t, server)
	withUser.User, withUser.Password = "store", "a password"
	first := open(t, plain)
	create(t, first, "f/k", "x") // before the other makes what is above both
	closed := open(t, withUser)
	create(t, closed, "f/k", "x")
	for path, acl := range map[string][]zkc.ACL{
		"written-only":  {{Perms: zkc.PermAll &^ zkc.PermRead, Scheme: "world", ID: "anyone"}, {Perms: zkc.PermAll, Scheme: "ip", ID: "127.0.0.1"}},
		"any-address":   {{Perms: zkc.PermRead, Scheme: "ip", ID: "0.0.0.0/0"}},
		"own-and-world": append(zkc.DigestACL(zkc.PermAll, "a", "b"), zkc.WorldACL(zkc.PermRead)...),
		"somebody-else": zkc.DigestACL(zkc.PermAll, "a", "b"),
		"no-record":     zkc.WorldACL(zkc.PermAll),
	} {
		data := []byte("x")
		if path == "no-record" {
			data = nil
		}
		_, err := c.Create(plain.Root+"/"+path, data, 0, acl)
		must(t, err)
	}
	for _, tt := range []struct {
		b    *zk.Backend
		key  store.Key
		want bool
		err  error
	}{
		{first, "f/k", true, nil},
		{closed, "f/k", false, nil},
		{first, "written-only", false, nil},
		{first, "any-address", true, nil},
		{first, "own-and-world", true, nil},
		{first, "somebody-else", false, nil},
		{first, "no-record", false, store.ErrNotFound},
		{first, "missing", false, store.ErrNotFound},
		{first, "changes", false, store.ErrInvalidKey},
	} {
		if got, err := tt.b.WorldReadable(t.Context(), tt.key); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v, want %v, %v", tt.key, got, err, tt.want, tt.err)
		}
	}
	p.Refuse(true)
	if _, err := first.WorldReadable(t.Context(), "f/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while ZooKeeper is away: %v", err)
	}
}
