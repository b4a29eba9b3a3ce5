//go:build zookeeper

package zk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk"
)

func nodeID(n int) string { return fmt.Sprintf("%032x", n) }

// announce runs Announce until the test or the returned function ends it.
func announce(t *testing.T, b *zk.Backend, id string) (content chan<- []byte, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan []byte), make(chan error, 1)
	go func() { ended <- b.AnnounceNode(ctx, id, out) }()
	return out, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("announce: %v", err)
		}
	}
}

// announced waits until b sees exactly these, in the form "ID=DATA" with the
// last digit of the id.
func announced(t *testing.T, b *zk.Backend, want string) {
	t.Helper()
	got := ""
	eventually(t, "announced: "+want, func() bool {
		all, err := b.Nodes(t.Context())
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		var parts []string
		for _, a := range all {
			parts = append(parts, a.ID[len(a.ID)-1:]+"="+string(a.Data))
		}
		got = strings.Join(parts, " ")
		return err == nil && got == want
	})
}

func TestAnnouncementFollowsItsServer(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	cfg := config(t, p.Addr())
	cfg.User, cfg.Password = "store", "a password"
	announcing := open(t, cfg)
	cfg.Servers = []string{server}
	other := open(t, cfg)
	announced(t, other, "")

	one, endOne := announce(t, announcing, nodeID(1))
	defer endOne()
	two, endTwo := announce(t, other, nodeID(2))
	one <- []byte("sealed")
	two <- []byte("two")
	announced(t, other, "1=sealed 2=two")
	one <- []byte("unsealed")
	announced(t, announcing, "1=unsealed 2=two")

	// Another session takes the znode over from the one before, and it is still
	// there when that one has ended.
	p.Cut()
	one <- []byte("again")
	announced(t, other, "1=again 2=two")
	before := owner(t, cfg, nodeID(1))
	p.Cut()
	eventually(t, "another owner", func() bool { now := owner(t, cfg, nodeID(1)); return now != 0 && now != before })
	announced(t, other, "1=again 2=two")

	// One that was removed by hand comes back, also with its folder.
	c := raw(t, server)
	must(t, c.AddAuth("digest", []byte("store:a password")))
	must(t, c.Delete(cfg.Root+"/nodes/"+nodeID(1), -1))
	must(t, c.Delete(cfg.Root+"/nodes/"+nodeID(2), -1))
	must(t, c.Delete(cfg.Root+"/nodes", -1))
	announced(t, other, "1=again 2=two")

	// It goes with its server, and so does that of one who is cut off.
	endTwo()
	must(t, other.Close())
	announced(t, announcing, "1=again")
	third := open(t, cfg)
	p.Refuse(true)
	announced(t, third, "")
}

func owner(t *testing.T, cfg zk.Config, id string) int64 {
	t.Helper()
	c := raw(t, cfg.Servers[0])
	defer c.Close()
	_, stat, err := c.Exists(cfg.Root + "/nodes/" + id)
	must(t, err)
	return stat.EphemeralOwner
}

func TestForeignAnnouncementsAreBounded(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	c := raw(t, server)
	cfg := config(t, server)
	b := open(t, cfg)
	create(t, b, "k", "x")
	make := func(name string, data string, flags int32, acl []zkc.ACL) {
		_, err := c.Create(cfg.Root+"/nodes/"+name, []byte(data), flags, acl)
		must(t, err)
	}
	world := zkc.WorldACL(zkc.PermAll)
	_, err := c.Create(cfg.Root+"/nodes", nil, 0, world)
	must(t, err)
	make("not-an-id", "x", zkc.FlagEphemeral, world)
	make(nodeID(1), "of no session", 0, world)
	make(nodeID(2), strings.Repeat("x", store.MaxAnnouncement+1), zkc.FlagEphemeral, world)
	make(nodeID(3), "not for us", zkc.FlagEphemeral, zkc.DigestACL(zkc.PermAll, "a", "b"))
	make(nodeID(4), "", zkc.FlagEphemeral, world)
	announced(t, b, "2= 3= 4=")
	for n := range 100 {
		make(nodeID(1000+n), "x", zkc.FlagEphemeral, world)
	}
	all, err := b.Nodes(t.Context())
	if err != nil || len(all) == 0 || len(all) > 64 {
		t.Errorf("%d announcements, %v", len(all), err)
	}
	// They are no records.
	if list, err := b.Children(t.Context(), "", store.Latest); err != nil || len(list.Names) != 1 {
		t.Errorf("%v, %v", list.Names, err)
	}
	if _, err := b.Get(t.Context(), "nodes/"+nodeID(2), store.Latest); !errors.Is(err, store.ErrInvalidKey) {
		t.Errorf("as a record: %v", err)
	}
	if err := b.Announce(t.Context(), "../x", nil); !errors.Is(err, zk.ErrConfig) {
		t.Errorf("an invalid id: %v", err)
	}
}

// TestCrowdedAnnouncementsAreAnError: a server that is not among those that were
// read must not look like one that is not there.
func TestCrowdedAnnouncementsAreAnError(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	c := raw(t, server)
	cfg := config(t, server)
	b := open(t, cfg)
	create(t, b, "k", "x")
	world := zkc.WorldACL(zkc.PermAll)
	_, err := c.Create(cfg.Root+"/peers", nil, 0, world)
	must(t, err)
	make := func(n int, flags int32, acl []zkc.ACL) {
		_, err := c.Create(cfg.Root+"/peers/"+nodeID(n), []byte("x"), flags, acl)
		must(t, err)
	}
	make(1, 0, world) // tied to no session
	make(2, zkc.FlagEphemeral, zkc.DigestACL(zkc.PermAll, "a", "b"))
	all, err := b.Announcements(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != nodeID(2) || all[0].Data != nil {
		t.Fatalf("%v, %v", all, err)
	}
	for n := range store.MaxAnnouncements {
		make(1000+n, zkc.FlagEphemeral, world)
	}
	if all, err := b.Announcements(t.Context()); !errors.Is(err, store.ErrTooManyAnnouncements) {
		t.Errorf("%d announcements, %v", len(all), err)
	}
}
