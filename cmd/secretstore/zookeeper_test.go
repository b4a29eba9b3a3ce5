//go:build zookeeper

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"github.com/rogpeppe/go-internal/testscript"

	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/zktest"
)

// TestWithZooKeeper runs what needs a real ZooKeeper. One is enough: each test
// and each script has its own ROOT.
func TestWithZooKeeper(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	tests := gpgTests()
	tests["scripts"] = zookeeperScripts
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.Addr())
		})
	}
}

// zookeeperScripts runs the program against a ZooKeeper, whose address is in $ZK.
// Further commands, as the user admin:secret:
//
//	zkget PATH FILE          writes the data of a znode to a file
//	zkset PATH FILE          sets the data of a znode, which may be new
//	zkacl PATH               prints the ACL to standard output
//	zksetacl PATH PERMS      lets everybody do what PERMS says (letters of cdrwa, or -)
//	zkspare PATH             sets $SPARE to a bucket of secrets that is not there
//	zkchildren PATH          prints the names of the znodes directly below
//	zkcopy FROM TO           copies a znode and all below
//	zkrmr PATH               removes a znode and all below
//	zkfind PATH              prints the znodes below a path that hold data
//	zkgrep TEXT PATH         looks for a text in all names and data; ! wants none
func zookeeperScripts(t *testing.T, addr string) {
	conn, events, err := zkc.Connect([]string{addr}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	if err := conn.AddAuth("digest", []byte("admin:secret")); err != nil {
		t.Fatal(err)
	}
	z := zookeeper{conn}
	runScripts(t, "../../testdata/script/zookeeper", func(env *testscript.Env) error {
		env.Setenv("ZK", addr)
		return nil
	}, map[string]command{"zkget": z.get, "zkset": z.set, "zkacl": z.acl, "zksetacl": z.setACL, "zkchildren": z.children, "zkcopy": z.copy, "zkspare": z.spare, "zkrmr": z.rmr, "zkgrep": z.grep, "zkfind": z.find})
}

// TestScriptsWithZooKeeperOverTLS: $ZK accepts only TLS, presents zk.pem, and
// demands client.pem. stranger.pem is unknown to both sides.
func TestScriptsWithZooKeeperOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"zk", "client", "stranger"} {
		if err := fixture.Certificate(in(name+".pem"), in(name+".key")); err != nil {
			t.Fatal(err)
		}
	}
	key, keyErr := os.ReadFile(in("zk.key"))
	cert, certErr := os.ReadFile(in("zk.pem"))
	if err := errors.Join(keyErr, certErr, os.WriteFile(in("both.pem"), append(key, cert...), 0o600)); err != nil {
		t.Fatal(err)
	}
	server := zktest.Start(t, zktest.TLS(in("both.pem"), in("client.pem")))
	runScripts(t, "../../testdata/script/zktls", func(env *testscript.Env) error {
		env.Setenv("ZK", server.TLSAddr())
		return os.CopyFS(env.WorkDir, os.DirFS(dir))
	}, nil)
}

type zookeeper struct{ conn *zkc.Conn }

func (z zookeeper) get(ts *testscript.TestScript, _ bool, args []string) {
	data, _, err := z.conn.Get(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o600))
}

func (z zookeeper) set(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[1]))
	_, err := z.conn.Set(args[0], data, -1)
	if err == zkc.ErrNoNode {
		_, err = z.conn.Create(args[0], data, 0, zkc.WorldACL(zkc.PermAll))
	}
	ts.Check(err)
}

func (z zookeeper) acl(ts *testscript.TestScript, _ bool, args []string) {
	all, _, err := z.conn.GetACL(args[0])
	ts.Check(err)
	for _, a := range all {
		fmt.Fprintln(ts.Stdout(), a.Scheme, a.ID, a.Perms)
	}
}

func (z zookeeper) setACL(ts *testscript.TestScript, _ bool, args []string) {
	acl := zkc.DigestACL(zkc.PermAll, "admin", "secret")
	var everybody int32
	for i, letter := range "rwcda" { // in the order of the bits
		if strings.ContainsRune(args[1], letter) {
			everybody |= 1 << i
		}
	}
	if everybody != 0 {
		acl = append(acl, zkc.WorldACL(everybody)...)
	}
	_, err := z.conn.SetACL(args[0], acl, -1)
	ts.Check(err)
}

func (z zookeeper) spare(ts *testscript.TestScript, _ bool, args []string) {
	there, _, err := z.conn.Children(args[0])
	ts.Check(err)
	for i := range 256 {
		if name := fmt.Sprintf("%02x", i); !slices.Contains(there, name) {
			ts.Setenv("SPARE", name)
			return
		}
	}
}

func (z zookeeper) children(ts *testscript.TestScript, _ bool, args []string) {
	names, _, err := z.conn.Children(args[0])
	ts.Check(err)
	slices.Sort(names)
	fmt.Fprintln(ts.Stdout(), strings.Join(names, "\n"))
}

func (z zookeeper) copy(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(z.walk(args[0], func(p string, data []byte) {
		_, err := z.conn.Create(args[1]+strings.TrimPrefix(p, args[0]), data, 0, zkc.WorldACL(zkc.PermAll))
		ts.Check(err)
	}))
}

func (z zookeeper) rmr(ts *testscript.TestScript, _ bool, args []string) {
	var all []string
	ts.Check(z.walk(args[0], func(p string, _ []byte) { all = append(all, p) }))
	for i := len(all) - 1; i >= 0; i-- {
		ts.Check(z.conn.Delete(all[i], -1))
	}
}

func (z zookeeper) find(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(z.walk(args[0], func(p string, data []byte) {
		if len(data) > 0 {
			fmt.Fprintln(ts.Stdout(), p)
		}
	}))
}

func (z zookeeper) grep(ts *testscript.TestScript, neg bool, args []string) {
	var found []string
	visited := 0
	ts.Check(z.walk(args[1], func(p string, data []byte) {
		visited++
		if bytes.Contains([]byte(p[len(args[1]):]), []byte(args[0])) || bytes.Contains(data, []byte(args[0])) {
			found = append(found, p)
		}
	}))
	if neg == (len(found) > 0) || visited < 2 {
		ts.Fatalf("%q is in %v, of %d znodes", args[0], found, visited)
	}
}

// walk visits a znode and all below, parents first.
func (z zookeeper) walk(p string, visit func(p string, data []byte)) error {
	data, _, err := z.conn.Get(p)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	visit(p, data)
	children, _, err := z.conn.Children(p)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	for _, c := range children {
		if err := z.walk(path.Join(p, c), visit); err != nil {
			return err
		}
	}
	return nil
}
