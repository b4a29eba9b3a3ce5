// Package tree says where records are in ZooKeeper: the record KEY is the znode
// ROOT/KEY. Four children of ROOT are not records: "changes", where servers
// publish what they wrote, "nodes" and "peers", where they announce themselves
// to people and to each other, and "pause", while writes are held back.
package tree

import (
	"errors"
	"fmt"
	"strings"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// The children of ROOT that no key may lie under.
const (
	changesName = "changes"
	nodesName   = "nodes"
	peersName   = "peers"
	pauseName   = "pause"
)

// Tree is the znodes of one storage.
type Tree struct {
	Root string
	ACL  []zkc.ACL // of every znode that is made
}

// Path returns the znode of a key; of the empty key, ROOT.
func (t Tree) Path(key store.Key) string {
	if key == "" {
		return t.Root
	}
	return t.Root + "/" + key
}

// Key returns the key of a znode below ROOT.
func (t Tree) Key(path string) (store.Key, bool) { return strings.CutPrefix(path, t.Root+"/") }

// Changes returns the folder of the change records.
func (t Tree) Changes() string { return t.Root + "/" + changesName }

// ChangeRecord returns the name of a change record if path is one.
func (t Tree) ChangeRecord(path string) (name string, ok bool) {
	return strings.CutPrefix(path, t.Changes()+"/")
}

// Nodes returns the folder of the announcements to people.
func (t Tree) Nodes() string { return t.Root + "/" + nodesName }

// Peers returns the folder of the announcements to other servers.
func (t Tree) Peers() string { return t.Root + "/" + peersName }

// Pause returns the znode that is there while writes are held back.
func (t Tree) Pause() string { return t.Root + "/" + pauseName }

func reserved(name string) bool {
	switch name {
	case changesName, nodesName, peersName, pauseName:
		return true
	}
	return false
}

// CheckKey is store.ValidKey, and refuses keys under the reserved names.
func CheckKey(key store.Key) error {
	if top, _, _ := strings.Cut(key, "/"); reserved(top) {
		return fmt.Errorf("%w: %q is reserved", store.ErrInvalidKey, top)
	}
	return store.ValidKey(key)
}

// Parent returns the key above; of a key with one component, the empty key.
func Parent(key store.Key) store.Key { return key[:max(0, strings.LastIndexByte(key, '/'))] }

// KeepValid drops the names of children of parent that no key can have, such as
// those that others have made. It changes names.
func KeepValid(parent store.Key, names []string) []string {
	valid := names[:0]
	for _, name := range names {
		if strings.Contains(name, "/") || store.ValidKey(name) != nil || parent == "" && reserved(name) {
			continue
		}
		valid = append(valid, name)
	}
	return valid
}

// CheckPath accepts absolute znode paths of printable ASCII below "/", except
// ZooKeeper's own. ZooKeeper permits others, but they cannot be typed into zkCli.
func CheckPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	if path == "/" || strings.HasSuffix(path, "/") {
		return fmt.Errorf("%q ends in a slash", path)
	}
	if len(path) > store.MaxKey {
		return fmt.Errorf("longer than %d bytes", store.MaxKey)
	}
	for i, part := range strings.Split(path[1:], "/") {
		odd := strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' })
		if part == "" || part == "." || part == ".." || odd {
			return fmt.Errorf("%q is not a znode path", path)
		}
		if i == 0 && part == "zookeeper" {
			return errors.New("/zookeeper belongs to ZooKeeper itself")
		}
	}
	return nil
}
