// Package mounts reads the decrypted tables of a Vault that say which secrets
// engines it has, and where their records are. It does no I/O.
package mounts

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Names of the records, in each namespace.
const (
	TableName      = "core/mounts"
	LocalTableName = "core/local-mounts"
	// NamespacesPrefix has a record for each namespace of OpenBao.
	NamespacesPrefix = "core/namespaces/"
)

const (
	// maxTable bounds a table that was decompressed, in bytes.
	maxTable = 64 << 20
	// maxPath bounds the path of a mount or namespace, in bytes.
	maxPath = 1024
)

// The canary bytes of Vault, which say how a table is compressed.
var foreignCompression = map[byte]string{'L': "LZW", 'S': "Snappy", '4': "LZ4"}

var (
	errTable     = errors.New("it is not a table of mounts")
	errTooLarge  = fmt.Errorf("it is larger than %d MiB", maxTable>>20)
	errNamespace = errors.New("it does not describe a namespace")
)

// Mount is a KV secrets engine.
type Mount struct {
	Path string // with a slash at the end
	// V2 is whether secrets have versions.
	V2 bool
	// Prefix of its records, with a slash at the end, without that of its namespace.
	Prefix string
}

// Kind names the engine for people.
func (m Mount) Kind() string {
	if m.V2 {
		return "KV v2"
	}
	return "KV v1"
}

// Parse reads a table. It returns the KV engines in it, and how many others there
// are.
func Parse(plain []byte) (kv []Mount, others int, err error) {
	data, err := decompress(plain)
	if err != nil {
		return nil, 0, err
	}
	var doc struct {
		Entries []struct {
			Path    string            `json:"path"`
			Type    string            `json:"type"`
			UUID    string            `json:"uuid"`
			Options map[string]string `json:"options"`
			Backend string            `json:"backend_aware_uuid"`
		} `json:"entries"`
	}
	if json.Unmarshal(data, &doc) != nil {
		return nil, 0, errTable
	}
	for _, e := range doc.Entries {
		switch {
		case e.Type != "kv" && e.Type != "generic":
			others++
			continue
		case !validPath(e.Path) || !validID(e.UUID):
			return nil, 0, errTable
		}
		m := Mount{Path: e.Path, Prefix: "logical/" + e.UUID + "/"}
		switch v := e.Options["version"]; {
		case v == "2" && e.Type == "kv":
			if !validID(e.Backend) {
				return nil, 0, errTable
			}
			m.V2, m.Prefix = true, m.Prefix+e.Backend+"/"
		case v != "" && v != "1":
			return nil, 0, fmt.Errorf("the mount %q has the unknown version %.20q", e.Path, v)
		}
		kv = append(kv, m)
	}
	return kv, others, nil
}

// decompress returns a table without its compression, which Vault 0.5.3 did not
// have.
func decompress(plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errTable
	}
	if name := foreignCompression[plain[0]]; name != "" {
		return nil, fmt.Errorf("it is compressed with %s, which no release of Vault or OpenBao writes", name)
	}
	if plain[0] != 'G' {
		return plain, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(plain[1:]))
	if err != nil {
		return nil, errTable
	}
	data, err := io.ReadAll(io.LimitReader(z, maxTable+1))
	if err != nil {
		return nil, errTable
	}
	if len(data) > maxTable {
		return nil, errTooLarge
	}
	return data, nil
}

// Namespace is a part of an OpenBao with its own mounts.
type Namespace struct {
	Path   string // with a slash at the end; "" is the root
	Prefix string // of its records, with a slash at the end; "" for the root
}

// ParseNamespace reads a record below core/namespaces/.
func ParseNamespace(plain []byte) (Namespace, error) {
	var doc struct {
		UUID string `json:"uuid"`
		Path string `json:"path"`
	}
	if json.Unmarshal(plain, &doc) != nil || !validID(doc.UUID) || doc.Path != "" && !validPath(doc.Path) {
		return Namespace{}, errNamespace
	}
	if doc.Path == "" {
		return Namespace{}, nil
	}
	return Namespace{Path: doc.Path, Prefix: "namespaces/" + doc.UUID + "/"}, nil
}

func validPath(path string) bool {
	return len(path) <= maxPath && strings.HasSuffix(path, "/") && path != "/" && !strings.HasPrefix(path, "/") && !strings.Contains(path, "//")
}

// validID: an id becomes a part of the names of records.
func validID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "0123456789abcdefABCDEF-") == ""
}
