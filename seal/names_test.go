package seal

import (
	"strings"
	"testing"
	"unsafe"

	"secretstore/acl"
	"secretstore/seal/envelope"
)

// TestRememberedPathsKeepNoRequestInMemory: a path may be part of a line of a
// request that is many times as long.
func TestRememberedPathsKeepNoRequestInMemory(t *testing.T) {
	n, err := newNamer(envelope.NewKey(), "store")
	if err != nil {
		t.Fatal(err)
	}
	p, err := acl.ParsePath(strings.Repeat("folder/", 3) + "name")
	if err != nil {
		t.Fatal(err)
	}
	folder, secret, err := n.secretKey(p)
	if err != nil {
		t.Fatal(err)
	}
	if f, s, err := n.secretKey(p); f != folder || s != secret || err != nil {
		t.Errorf("remembered: %s and %s, %v, derived: %s and %s", f, s, err, folder, secret)
	}
	for _, kept := range append(n.known.Keys(), n.knownFolders.Keys()...) {
		if unsafe.StringData(kept) == unsafe.StringData(p.String()) {
			t.Errorf("%q is kept as it came", kept)
		}
	}
}

func BenchmarkSecretKey(b *testing.B) {
	n, err := newNamer(envelope.NewKey(), "store")
	if err != nil {
		b.Fatal(err)
	}
	p, _ := acl.ParsePath("folder/folder/name")
	for _, remembered := range []bool{true, false} {
		name := "remembered"
		if !remembered {
			name = "derived"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !remembered {
					n.known.Remove(p.String())
				}
				if _, _, err := n.secretKey(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
