//go:build zookeeper

package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/acl"
	"secretstore/internal/vault/vaulttest"
	"secretstore/internal/zktest"
)

func TestMain(m *testing.M) { os.Exit(zktest.Main{M: m}.Run()) }

// load writes a dump below root, with an ACL that admits one user, as DC/OS does.
func load(t *testing.T, server, root string, dump []byte) (conn *zkc.Conn) {
	t.Helper()
	conn, _, err := zkc.Connect([]string{server}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if err := conn.AddAuth("digest", []byte("dcos_vault_default:secret")); err != nil {
		t.Fatal(err)
	}
	closed := zkc.DigestACL(zkc.PermAll, "dcos_vault_default", "secret")
	made := map[string]bool{}
	var create func(path string, data []byte, acl []zkc.ACL)
	create = func(path string, data []byte, acl []zkc.ACL) {
		if at := strings.LastIndexByte(path, '/'); at > 0 && !made[path[:at]] {
			create(path[:at], nil, acl)
		}
		made[path] = true
		if _, err := conn.Create(path, data, 0, acl); errors.Is(err, zkc.ErrNodeExists) && len(data) > 0 {
			_, err = conn.Set(path, data, -1) // made as a folder before
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil && !errors.Is(err, zkc.ErrNodeExists) {
			t.Fatalf("%s: %v", path, err)
		}
	}
	create(root, nil, zkc.WorldACL(zkc.PermAll))
	for line := range bytes.Lines(dump) {
		var doc struct {
			Path string
			Data []byte
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		create(root+doc.Path, doc.Data, closed)
	}
	return conn
}

// rootOf is where the Vault of a set is.
func rootOf(name string) string {
	switch {
	case strings.HasPrefix(name, "dcos"):
		return "/dcos/vault/default"
	case strings.HasPrefix(name, "openbao"):
		return "/bao"
	}
	return "/vault"
}

func TestZooKeeperBecomesSecretsValueByValue(t *testing.T) {
	t.Parallel()
	for _, name := range vaulttest.Names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := vaulttest.Load(t, name)
			server := zktest.Shared(t)
			load(t, server, "/"+name, set.Dump)
			rename, to := renamesFor(t, set.Want(1))
			plan, _ := planOf(t, flags(func(f *Flags) {
				f.zk, f.zkAuth = "zk://"+server+"/"+name+rootOf(name), file(t, "dcos_vault_default:secret\n")
				f.keyFiles = []string{file(t, strings.Join(set.Shares, "\n"))}
				f.as, f.rename, f.versions = asJSON, rename, 100
			}))
			checkValues(t, set, plan, 100, to)
			p, _ := process()
			if changed, err := plan.Changes(t.Context(), p); err != nil || len(changed) > 0 {
				t.Errorf("%v, %v", changed, err)
			}
		})
	}
}

func TestZooKeeperThatChangesIsReported(t *testing.T) {
	t.Parallel()
	set := vaulttest.Load(t, "dcos-vault-0.8.3")
	server := zktest.Shared(t)
	conn := load(t, server, "/changing", set.Dump)
	rename, _ := renamesFor(t, set.Want(1))
	plan, _ := planOf(t, flags(func(f *Flags) {
		f.zk, f.zkAuth = "zk://"+server+"/changing/dcos/vault/default", file(t, "dcos_vault_default:secret")
		f.keyFiles = []string{file(t, set.Shares[0])}
		f.as, f.rename = asJSON, rename
	}))
	read(t, plan)
	var victim string
	for line := range bytes.Lines(set.Dump) {
		if path, ok := strings.CutPrefix(string(line), `{"path": "`); ok && strings.Contains(path, "/_plain\"") {
			victim, _, _ = strings.Cut(path, `"`)
		}
	}
	if err := conn.Delete("/changing"+victim, -1); err != nil {
		t.Fatal(err)
	}
	p, _ := process()
	changed, err := plan.Changes(t.Context(), p)
	if err != nil || len(changed) != 1 || changed[0].Name != "secret/plain" {
		t.Errorf("%v, %v", changed, err)
	}
}

func TestZooKeeperWithoutItsUserIsExplained(t *testing.T) {
	t.Parallel()
	set := vaulttest.Load(t, "dcos-vault-0.8.3")
	server := zktest.Shared(t)
	load(t, server, "/closed", set.Dump)
	key := file(t, set.Shares[0])
	for url, want := range map[string]string{
		"zk://" + server + "/closed/dcos/vault/default": "--from-zk-auth-file",
		"zk://" + server + "/closed":                    "there is no Vault",
		"zk://" + server:                                "write zk://HOST:PORT",
	} {
		p, _ := process()
		o, err := flags(func(f *Flags) { f.zk, f.keyFiles = url, []string{key} }).Open(t.Context(), p, time.Minute)
		if err == nil {
			_, err = o.NewPlan(t.Context(), p, acl.Path{})
			o.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
