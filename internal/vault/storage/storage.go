// Package storage knows where a Vault keeps its records in ZooKeeper, and reads a
// dump of them. It does no I/O. What it returns is still encrypted, and nothing of
// it is authenticated.
//
// The record a/b/c is the data of the znode ROOT/a/b/_c: only the last part has "_"
// in front. Folders are znodes without data, and their names may begin with "_",
// too. A dump has one JSON object a line: {"path": "/ROOT/a/b/_c", "data": "base64"
// or null}.
package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// NameOf returns the record that the znode below root holds, if it has data. ok is
// false for a znode that cannot hold one.
func NameOf(root, znode string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(znode, root+"/")
	if !ok {
		return "", false
	}
	at := strings.LastIndexByte(rest, '/') + 1
	leaf, ok := strings.CutPrefix(rest[at:], "_")
	if !ok || leaf == "" {
		return "", false
	}
	return rest[:at] + leaf, true
}

// ZnodeOf returns the znode that holds a record.
func ZnodeOf(root, name string) string {
	at := strings.LastIndexByte(name, '/') + 1
	return root + "/" + name[:at] + "_" + name[at:]
}

// FolderOf returns the znode below which the records are whose names begin with
// prefix, which ends in a slash.
func FolderOf(root, prefix string) string { return strings.TrimSuffix(root+"/"+prefix, "/") }

// Records are the records of a dump, by name.
type Records map[string][]byte

// Record returns a record, nil if there is none.
func (r Records) Record(_ context.Context, name string) ([]byte, error) { return r[name], nil }

// Below returns the names that begin with prefix, sorted.
func (r Records) Below(_ context.Context, prefix string) ([]string, error) {
	var names []string
	for name := range r {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// maxDepth bounds the parts of a path in a dump.
const maxDepth = 256

var (
	errLine   = errors.New(`it is not {"path": "/…", "data": "base64" or null}`)
	errTwice  = errors.New("the path appears twice")
	errNoRoot = errors.New("the dump has no Vault: no znode …/core/_keyring")
	errRoots  = errors.New("the dump has more than one Vault: more than one znode …/core/_keyring")
)

// ParseDump reads a dump of one Vault, and finds its root.
func ParseDump(data []byte) (root string, _ Records, err error) {
	const keyring = "/core/_keyring"
	znodes := map[string][]byte{}
	found := false
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		path, value, err := parseLine(line)
		if _, twice := znodes[path]; err == nil && twice {
			err = errTwice
		}
		if err != nil {
			return "", nil, fmt.Errorf("line %d: %w", n, err)
		}
		znodes[path] = value
		if r, ok := strings.CutSuffix(path, keyring); ok && len(value) > 0 {
			if found {
				return "", nil, errRoots
			}
			root, found = r, true
		}
	}
	if !found {
		return "", nil, errNoRoot
	}
	records := Records{}
	for path, value := range znodes {
		if name, ok := NameOf(root, path); ok && len(value) > 0 {
			records[name] = value
		}
	}
	return root, records, nil
}

func parseLine(line []byte) (path string, value []byte, err error) {
	var doc struct {
		Path *string `json:"path"`
		Data *[]byte `json:"data"`
	}
	if json.Unmarshal(line, &doc) != nil || doc.Path == nil || !strings.HasPrefix(*doc.Path, "/") || strings.Count(*doc.Path, "/") > maxDepth {
		return "", nil, errLine
	}
	if doc.Data != nil {
		value = *doc.Data
	}
	return *doc.Path, value, nil
}
