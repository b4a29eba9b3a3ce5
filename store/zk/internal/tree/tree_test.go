package tree

import (
	"errors"
	"slices"
	"testing"

	"secretstore/store"
)

func TestKeysAndPathsBelongTogether(t *testing.T) {
	tree := Tree{Root: "/dcos/secrets"}
	for key, path := range map[store.Key]string{"a": "/dcos/secrets/a", "a/b/c": "/dcos/secrets/a/b/c", "": "/dcos/secrets"} {
		if got := tree.Path(key); got != path {
			t.Errorf("Path(%q) = %q", key, got)
		}
		if got, ok := tree.Key(path); key != "" && (!ok || got != key) {
			t.Errorf("Key(%q) = %q, %v", path, got, ok)
		}
	}
	for _, path := range []string{"/dcos/secrets", "/dcos", "/dcos/secretsx/a", "/"} {
		if key, ok := tree.Key(path); ok {
			t.Errorf("Key(%q) = %q", path, key)
		}
	}
	if name, ok := tree.ChangeRecord("/dcos/secrets/changes/x"); !ok || name != "x" {
		t.Errorf("%q, %v", name, ok)
	}
	if _, ok := tree.ChangeRecord(tree.Changes()); ok {
		t.Error("the folder of the change records is one")
	}
}

func TestReservedNamesAreNotKeys(t *testing.T) {
	for _, key := range []store.Key{"changes", "changes/x", "nodes", "nodes/x/y", "peers", "peers/x", "pause", "pause/x", "", "a//b"} {
		if err := CheckKey(key); !errors.Is(err, store.ErrInvalidKey) {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []store.Key{"changesx", "a/changes", "nodes.x", "paused"} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestOnlyNamesOfKeysAreListed(t *testing.T) {
	all := []string{"a", "b c", "changes", "nodes", "pause", "peers", "..", "d"}
	if got := KeepValid("", slices.Clone(all)); !slices.Equal(got, []string{"a", "d"}) {
		t.Errorf("at the top: %q", got)
	}
	if got := KeepValid("f", slices.Clone(all)); !slices.Equal(got, []string{"a", "changes", "nodes", "pause", "peers", "d"}) {
		t.Errorf("below a folder: %q", got)
	}
}

func TestParentOfTheTopIsEmpty(t *testing.T) {
	for key, want := range map[store.Key]store.Key{"a": "", "a/b": "a", "a/b/c": "a/b", "": ""} {
		if got := Parent(key); got != want {
			t.Errorf("Parent(%q) = %q", key, got)
		}
	}
}
