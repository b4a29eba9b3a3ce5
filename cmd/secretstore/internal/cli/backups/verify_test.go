package backups

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// TestVerifyWithAKeyOpensEveryRecord damages one record of each kind before the
// backup is made, so that its hash, counts and MAC are right.
func TestVerifyWithAKeyOpensEveryRecord(t *testing.T) {
	for _, tt := range []struct {
		below store.Key // the record that is damaged; "" is none
		level int       // the slashes in its key, at least
		want  string
	}{
		{"", 0, "Every record opens: 1 secret(s) and 1 deleted one(s) with 3 version(s), and 1 record(s) of users, groups and grants.\n"},
		{"stores/default/secrets", 4, "the backup has 1 secret(s), of which 0 open"},
		{"stores/default/secrets", 5, "the backup has 1 secret(s), of which 0 open"},
		{"stores/default/deleted", 4, "the backup has 1 deleted secret(s), of which 0 open"},
		{"stores/default/deleted", 5, "the backup has 1 deleted secret(s), of which 0 open"},
		{"stores/default/blobs", 4, "the backup has 1 secret(s), of which 0 open"},
	} {
		b := memory.New()
		defer b.Close()
		s, err := seal.Open(t.Context(), seal.Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, MaxSecretSize: 4 << 20, KeepVersions: 5, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		kept, gone := secretPath(t, "team/db"), secretPath(t, "team/gone")
		large := make([]byte, 1<<20)
		for p, values := range map[acl.Path][][]byte{kept: {large}, gone: {[]byte("x"), []byte("y")}} {
			_, err := s.Create(t.Context(), p, seal.Change{Kind: seal.Binary, Value: values[0]})
			for _, v := range values[1:] {
				if err == nil {
					_, err = s.Update(t.Context(), p, seal.Change{Kind: seal.Binary, Value: v})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), gone, nil); err != nil {
			t.Fatal(err)
		}
		s.Identities().Follow(nobody{})
		for s.Identities().Check() != nil { // they are loaded by a goroutine
			time.Sleep(time.Millisecond)
		}
		if err := s.Identities().Apply(t.Context(), 0, []iam.Record{{Name: "user/alice", Data: []byte("1")}}, nil); err != nil {
			t.Fatal(err)
		}
		if tt.below != "" {
			damage(t, b, tt.below, tt.level)
		}
		file := filepath.Join(t.TempDir(), "store.backup")
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Backup(t.Context(), f, seal.BackupOptions{BootstrapKey: true}); err != nil {
			t.Fatal(err)
		}
		f.Close()
		out, err := run("verify", file)
		if said := string(out) + errorText(err); !strings.Contains(said, tt.want) || (err != nil) != (tt.below != "") {
			t.Errorf("%q, level %d: %v\n%s", tt.below, tt.level, err, said)
		}
		live := tt.below != "" && tt.below != "stores/default/deleted"
		if out, err := run("show", file); (err != nil) != live {
			t.Errorf("%q, level %d: show: %v\n%s", tt.below, tt.level, err, out)
		}
	}
}

// TestVerifyOpensEveryDeletedSecret: more than a list has, and those in whose place others
// were created.
func TestVerifyOpensEveryDeletedSecret(t *testing.T) {
	s := newStore(t)
	again := secretPath(t, "team/again")
	create := func(p acl.Path) error {
		_, err := s.Create(t.Context(), p, seal.Change{Kind: seal.Text, Value: []byte("x")})
		return err
	}
	for n := range seal.MaxDeletedPage + 1 {
		p := again
		if n > 0 {
			p = secretPath(t, fmt.Sprintf("team/%d", n))
		}
		if err := errors.Join(create(p), s.Delete(t.Context(), p, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(again); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "store.backup")
	var content bytes.Buffer
	if _, err := s.Backup(t.Context(), &content, seal.BackupOptions{BootstrapKey: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "Every record opens: 1 secret(s) and 1001 deleted one(s) with 1002 version(s)"
	if out, err := run("verify", file); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s", err, out)
	}
}

// nobody follows identities, and keeps none.
type nobody struct{}

func (nobody) Load(uint64, []iam.Record, int)             {}
func (nobody) Change(uint64, []iam.Record, []string, int) {}
func (nobody) Forget()                                    {}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func secretPath(t *testing.T, text string) acl.Path {
	t.Helper()
	p, err := acl.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// damage changes the last byte of a record below key, at a level or deeper.
func damage(t *testing.T, b store.Backend, key store.Key, level int) {
	t.Helper()
	for {
		node, err := b.Get(t.Context(), key, store.Latest)
		if err == nil && strings.Count(key, "/") >= level {
			data := append([]byte(nil), node.Data...)
			data[len(data)-1] ^= 1
			if _, err := b.Apply(t.Context(), store.Op{Kind: store.OpSet, Key: key, Version: node.Version, Data: data}); err != nil {
				t.Fatal(err)
			}
			return
		}
		list, err := b.Children(t.Context(), key, store.Latest)
		if err != nil || len(list.Names) == 0 {
			t.Fatalf("nothing below %s: %v", key, err)
		}
		key += "/" + list.Names[0]
	}
}
