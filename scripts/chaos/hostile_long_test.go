//go:build zookeeper && linux && long

package chaos

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
)

// attacker writes to ZooKeeper directly.
type attacker struct {
	t    *testing.T
	conn *zkc.Conn
}

func newAttacker(t *testing.T, l *lab) *attacker {
	t.Helper()
	conn, events, err := zkc.Connect([]string{l.members[0].Addr()}, 30*time.Second, zkc.WithLogInfo(false), zkc.WithMaxConnBufferSize(2<<20))
	must(t, err)
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	must(t, conn.AddAuth("digest", []byte(zkUser)))
	return &attacker{t, conn}
}

// tree returns the data of path and all znodes below it.
func (v *attacker) tree(path string) map[string][]byte {
	v.t.Helper()
	all := make(map[string][]byte)
	data, _, err := v.conn.Get(path)
	if errors.Is(err, zkc.ErrNoNode) {
		return all
	}
	must(v.t, err)
	all[path] = data
	names, _, err := v.conn.Children(path)
	must(v.t, err)
	for _, name := range names {
		for p, data := range v.tree(path + "/" + name) {
			all[p] = data
		}
	}
	return all
}

// set writes a znode, which may be new; with nil data it deletes it.
func (v *attacker) set(path string, data []byte) {
	v.t.Helper()
	_, err := v.conn.Set(path, data, -1)
	switch {
	case data == nil:
		err = v.conn.Delete(path, -1)
		if errors.Is(err, zkc.ErrNoNode) {
			err = nil
		}
	case errors.Is(err, zkc.ErrNoNode):
		_, err = v.conn.Create(path, data, 0, zkc.AuthACL(zkc.PermAll))
	}
	if err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
}

// siege is a store with secrets, under attack.
type siege struct {
	t       *testing.T
	l       *lab
	v       *attacker
	secrets map[string]string // by path
	znodes  map[string]string // of the secrets
	lists   map[string]bool   // what a list may show
}

func (s *siege) put(path, value string) {
	s.t.Helper()
	before := s.v.tree(root + "/stores/default/secrets")
	if a := put(s.l.stores[0], path, value); a.status != http.StatusCreated {
		s.t.Fatal(a)
	}
	for znode := range s.v.tree(root + "/stores/default/secrets") {
		if before[znode] == nil && strings.Count(znode, "/") == strings.Count(root, "/")+6 {
			s.znodes[path] = znode
		}
	}
	s.secrets[path], s.lists[path] = value, true
}

// attack is one change that an attacker makes in ZooKeeper.
type attack struct {
	name string
	do   func()
	undo func()
	// missing: servers may answer that secrets do not exist, because they do not.
	missing bool
	// foreign: it makes names that no record can have, which have no effect.
	foreign bool
}

// TestHostileZnodes lets an attacker with the password for ZooKeeper write
// anything. The servers report it, and never give a wrong answer.
func TestHostileZnodes(t *testing.T) {
	l := newLab(t, 2)
	s := &siege{t: t, l: l, v: newAttacker(t, l), secrets: make(map[string]string), znodes: make(map[string]string), lists: make(map[string]bool)}
	s.put("h/a", "value of a")
	s.put("h/b", "value of b")
	s.put("other/c", expand("cL"))
	for _, a := range s.attacks() {
		ok := t.Run(a.name, func(t *testing.T) {
			l.t, s.t, s.v.t = t, t, t
			s.withstand(a)
		})
		if !ok {
			return // the state of the lab is not known now
		}
	}
	t.Run("ROOT is removed", func(t *testing.T) {
		l.t, s.t, s.v.t = t, t, t
		s.wiped()
	})
}

func (s *siege) attacks() []attack {
	v := s.v
	junk := make([]byte, 900_000)
	rand.Read(junk)
	znode := s.znodes["h/a"]
	folder := znode[:strings.LastIndex(znode, "/")]
	store := root + "/stores/default/"
	var all []attack
	// replaced writes something in place of a record, and puts it back.
	replaced := func(name, path string, with []byte) {
		var before []byte
		all = append(all, attack{name: name, do: func() {
			data, _, err := v.conn.Get(path)
			if !errors.Is(err, zkc.ErrNoNode) {
				must(s.t, err)
				before = data
			}
			v.set(path, with)
		}, undo: func() { v.set(path, before) }})
	}
	for _, name := range []string{"config", "root", "keyring", "seal"} {
		replaced(name+" is large", store+name, junk)
		replaced(name+" is empty", store+name, []byte{})
		replaced(name+" is gone", store+name, nil)
	}
	replaced("seal says unsealed, without a proof", store+"seal", []byte(`{"sealed":false,"seal":"00","mac":""}`))
	for _, name := range []string{"proposal", "rekey", "handover", "rotation"} {
		replaced(name+" is large", store+name, junk)
	}
	replaced("the bootstrap key is junk", root+"/keys/bootstrap_user.key", junk[:5000])
	replaced("a secret is large", znode, junk)
	replaced("a secret is short", znode, []byte("x"))
	replaced("a secret is empty", znode, []byte{})
	all[len(all)-1].missing = true // a server cannot tell it from one that only has children
	replaced("a folder is junk", folder, junk[:100])
	all = append(all, s.swap(), s.pieces(junk), s.children(folder, znode), s.feeds(junk), s.announced(junk), s.crowd(folder))
	return all
}

// swap exchanges two secrets.
func (s *siege) swap() attack {
	a, b := s.znodes["h/a"], s.znodes["h/b"]
	exchange := func() {
		dataA, _, err := s.v.conn.Get(a)
		must(s.t, err)
		dataB, _, err := s.v.conn.Get(b)
		must(s.t, err)
		s.v.set(a, dataB)
		s.v.set(b, dataA)
	}
	return attack{name: "two secrets are exchanged", do: exchange, undo: exchange}
}

// pieces replaces the pieces of a large value with junk.
func (s *siege) pieces(junk []byte) attack {
	var before map[string][]byte
	return attack{name: "pieces are junk",
		do: func() {
			before = s.v.tree(root + "/stores/default/blobs")
			n := 0
			for path := range before {
				if strings.Count(path, "/") == strings.Count(root, "/")+5 {
					n++
					s.v.set(path, junk[:100_000*n])
				}
			}
			if n == 0 {
				s.t.Fatal("no pieces")
			}
		},
		undo: func() {
			for path, data := range before {
				s.v.set(path, data)
			}
		}}
}

// children adds foreign znodes everywhere.
func (s *siege) children(folder, znode string) attack {
	var made []string
	return attack{name: "foreign children", foreign: true,
		do: func() {
			for _, parent := range []string{root, root + "/stores", root + "/stores/default", root + "/stores/default/secrets",
				root + "/stores/default/blobs", root + "/stores/default/id", root + "/changes", root + "/keys", folder, znode} {
				for _, name := range []string{"foreign", "odd näme ☃", strings.Repeat("n", 200), "...", "ff", strings.Repeat("0f", 16)} {
					s.v.set(parent+"/"+name, []byte("foreign"))
					made = append(made, parent+"/"+name)
				}
			}
		},
		undo: func() {
			for _, path := range made {
				// A server may have used ff as the bucket of this name, and
				// have put something there.
				if err := s.v.conn.Delete(path, -1); !errors.Is(err, zkc.ErrNotEmpty) {
					must(s.t, err)
				}
			}
		}}
}

// feeds forges the change records of running servers and of others.
func (s *siege) feeds(junk []byte) attack {
	var made []string
	return attack{name: "forged change records",
		do: func() {
			names, _, err := s.v.conn.Children(root + "/changes")
			must(s.t, err)
			for _, name := range names {
				s.v.set(root+"/changes/"+name, append([]byte("scl1"), bytes.Repeat([]byte{0xff}, 16)...))
			}
			for i := range 300 {
				made = append(made, fmt.Sprintf("%s/changes/%032x", root, i))
				s.v.set(made[i], junk[:i])
			}
		},
		undo: func() {
			for _, path := range made {
				s.v.set(path, nil)
			}
		}}
}

// announced forges the records of servers, and what running servers announce.
func (s *siege) announced(junk []byte) attack {
	var made []string
	return attack{name: "forged nodes",
		do: func() {
			for path := range s.v.tree(root + "/nodes") {
				if path != root+"/nodes" {
					s.v.set(path, []byte(`{"url":"http://evil.test/","sealed":false}`))
				}
			}
			for i := range 200 {
				made = append(made, fmt.Sprintf("%s/nodes/%032x", root, i))
				_, err := s.v.conn.Create(made[i], junk[:10*i], int32(i%2)*zkc.FlagEphemeral, zkc.AuthACL(zkc.PermAll))
				must(s.t, err)
			}
		},
		undo: func() {
			for _, path := range made {
				s.v.set(path, nil)
			}
		}}
}

// crowd puts so many znodes into a folder that its listing has many MB.
func (s *siege) crowd(folder string) attack {
	const n, batch = 40_000, 500
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s/%0200d", folder, i)
	}
	multi := func(op func(path string) any) {
		for part := range slices.Chunk(names, batch) {
			var ops []any
			for _, path := range part {
				ops = append(ops, op(path))
			}
			_, err := s.v.conn.Multi(ops...)
			must(s.t, err)
		}
	}
	return attack{name: "a listing of many MB", foreign: true,
		do: func() {
			multi(func(path string) any {
				return &zkc.CreateRequest{Path: path, Data: []byte("x"), Acl: zkc.AuthACL(zkc.PermAll)}
			})
		},
		undo: func() { multi(func(path string) any { return &zkc.DeleteRequest{Path: path, Version: -1} }) }}
}

// withstand makes the attack, checks the answers of the servers, seals and
// unseals, and checks that everything is back after the attack is undone.
func (s *siege) withstand(a attack) {
	a.do()
	for range 3 {
		s.look(a)
		time.Sleep(200 * time.Millisecond)
	}
	first := s.l.stores[0]
	seal := first.request("PUT", api+"/seal/default", "")
	if seal.status != http.StatusOK && seal.status != http.StatusServiceUnavailable {
		s.t.Errorf("seal: %v", seal)
	}
	for path := range s.secrets {
		if got := first.get(secrets + path); got.status != http.StatusServiceUnavailable {
			s.t.Errorf("after a seal, %s: %v", path, got)
		}
	}
	unseal := first.request("PUT", api+"/auto-unseal/default", "")
	if unseal.status == 0 || unseal.status != http.StatusOK && !strings.Contains(unseal.body, `"description":"`) {
		s.t.Errorf("unseal: %v", unseal)
	}
	s.look(a)
	s.t.Logf("seal: %d, unseal: %v, then: %s", seal.status, unseal, first.get(secrets+"h/a").body)
	a.undo()
	s.l.eventually("unsealed again", func() bool {
		return first.request("PUT", api+"/auto-unseal/default", "").status == http.StatusOK
	})
	for _, server := range s.l.stores {
		server.await()
		for path, value := range s.secrets {
			// A direct change in ZooKeeper is seen at once only by reads with
			// no-cache.
			for _, header := range [][]string{{noCache}, nil} {
				s.l.eventually(path+" is there again", func() bool {
					got, err := server.get(secrets+path, header...).value()
					return err == nil && got == value
				})
			}
		}
		s.l.eventually("the list is whole again", func() bool {
			names, err := server.get(secrets+"?list=true", noCache).names()
			return err == nil && len(names) == len(s.secrets)
		})
	}
}

// look reads everything from every server.
func (s *siege) look(a attack) {
	s.t.Helper()
	for _, server := range s.l.stores {
		for path, value := range s.secrets {
			for _, header := range [][]string{nil, {noCache}} {
				got := server.get(secrets+path, header...)
				switch {
				case got.status == http.StatusOK:
					if v, err := got.value(); err != nil || v != value {
						s.t.Errorf("%s: %v", path, got)
					}
				case got.status == http.StatusNotFound && a.missing:
				case got.status == http.StatusInternalServerError && strings.Contains(got.body, "damaged"):
				case got.status == http.StatusServiceUnavailable && !strings.Contains(got.body, "not initialized"):
				default:
					s.t.Errorf("%s: %v", path, got)
				}
			}
		}
		s.lookAtList(a, server.get(secrets+"?list=true"), false)
		s.lookAtList(a, server.get(secrets+"?list=true", noCache), true)
		if got := server.get(api + "/nodes/default"); got.status != http.StatusOK && got.status != http.StatusServiceUnavailable {
			s.t.Errorf("nodes: %v", got)
		}
		if got := server.get("/live"); got.status != http.StatusOK {
			s.t.Errorf("live: %v", got)
		}
		if got := server.get(api + "/store/default"); got.status != http.StatusOK || !strings.Contains(got.body, `"initialized":true`) {
			s.t.Errorf("store: %v", got)
		}
	}
}

// lookAtList checks a list: one with no-cache is whole, or an error that names a
// record; any other is given in any case, and says whether it is whole.
func (s *siege) lookAtList(a attack, got answer, strict bool) {
	s.t.Helper()
	switch got.status {
	case http.StatusOK:
		names, err := got.names()
		incomplete := strings.Contains(got.body, `"incomplete":true`)
		if err != nil || slices.ContainsFunc(names, func(n string) bool { return !s.lists[n] }) || !incomplete && len(names) != len(s.lists) ||
			incomplete && (strict || a.foreign) {
			s.t.Errorf("list: %v", got)
		}
	case http.StatusInternalServerError:
		if !strict || a.foreign || !strings.Contains(got.body, "damaged") {
			s.t.Errorf("list: %v", got)
		}
	case http.StatusServiceUnavailable:
	default:
		s.t.Errorf("list: %v", got)
	}
}

// wiped removes everything under running servers. They must report damage and
// make no new store.
func (s *siege) wiped() {
	for len(s.v.tree(root+"/stores")) > 0 { // the servers make their own znodes beside it again
		paths := slices.Collect(maps.Keys(s.v.tree(root)))
		slices.SortFunc(paths, func(a, b string) int { return len(b) - len(a) })
		for _, path := range paths {
			if err := s.v.conn.Delete(path, -1); err != nil && !errors.Is(err, zkc.ErrNoNode) && !errors.Is(err, zkc.ErrNotEmpty) {
				s.t.Fatal(err)
			}
		}
	}
	for _, server := range s.l.stores {
		s.l.eventually("damaged", func() bool {
			a := server.get(secrets + "h/a")
			return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "damaged")
		})
	}
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(200 * time.Millisecond) {
		s.look(attack{})
	}
	for _, server := range s.l.stores {
		for _, what := range []string{"/seal/default", "/auto-unseal/default"} {
			if a := server.request("PUT", api+what, ""); !strings.Contains(a.body, `"description":"`) && a.status != http.StatusOK {
				s.t.Errorf("%s: %v", what, a)
			}
		}
		if a := put(server, "new", "x"); a.status != http.StatusServiceUnavailable {
			s.t.Errorf("a write into a store that was removed: %v", a)
		}
	}
	for path := range s.v.tree(root) {
		if strings.HasPrefix(path, root+"/stores/default/") || strings.HasPrefix(path, root+"/keys/") {
			s.t.Errorf("made anew: %s", path)
		}
	}
}
