package offline

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/internal/atomicfile"
	"secretstore/seal"
	"secretstore/store"
)

// Sink takes the files of an export. Names are relative, with slashes.
type Sink interface {
	Put(name string, data []byte) error
}

// Taken marks the file of a secret whose path is also a folder, and the index if a secret
// has its name. No path contains this character.
const Taken = "@secret"

// The names that an index can have.
const (
	IndexName      = "index.json"
	OtherIndexName = "@index.json"
)

// Entry is one secret in the index, which holds no values.
type Entry struct {
	Path        string   `json:"path"`
	File        string   `json:"file,omitempty"`
	Kind        string   `json:"kind,omitempty"` // "text" or "binary"
	Size        int      `json:"size"`           // bytes
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	Author      string   `json:"author,omitempty"`
	Created     string   `json:"created,omitempty"` // RFC 3339
	Version     uint64   `json:"version,omitempty"`
	// Error says why the secret could not be read; it has no file then.
	Error string `json:"error,omitempty"`
}

// Index is the file index.json, or @index.json if a secret has that name.
type Index struct {
	Store   string  `json:"store"` // uuid
	Secrets []Entry `json:"secrets"`
	Failed  int     `json:"failed"` // secrets that could not be read
	// Incomplete: damaged records were skipped, and secrets may be missing.
	// Damaged are some of them, if they are known.
	Incomplete bool            `json:"incomplete,omitempty"`
	Damaged    []DamagedRecord `json:"damaged_records,omitempty"`
	File       string          `json:"-"` // the name of the index itself
}

// DamagedRecord is a record that was skipped.
type DamagedRecord struct {
	Record string `json:"record"` // its key in the storage
	Reason string `json:"reason"`
}

// Export writes every secret at and below scope (the zero Path is all) as a file
// named like its path, and the index at the end. A secret whose path is also a
// folder gets "@secret" after its name. A damaged record affects only that secret.
func Export(ctx context.Context, st *seal.Store, uuid string, scope acl.Path, sink Sink) (Index, error) {
	out := Index{Store: uuid, Secrets: []Entry{}}
	paths, incomplete, err := Paths(ctx, st, scope)
	if err != nil {
		return out, err
	}
	if out.Incomplete = incomplete; incomplete {
		for _, record := range st.Damage().First {
			out.Damaged = append(out.Damaged, DamagedRecord{record.Key, record.Reason()})
		}
	}
	out.File = IndexFor(paths)
	folders := FoldersOf(paths)
	for _, p := range paths {
		e, err := export(ctx, st, p, FileName(p, folders), sink)
		if err != nil {
			return out, err
		}
		if e.Error != "" {
			out.Failed++
		}
		out.Secrets = append(out.Secrets, e)
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return out, fmt.Errorf("encode the index: %w", err)
	}
	return out, sink.Put(out.File, append(data, '\n'))
}

// Paths returns the full paths of the secrets at and below scope, sorted. It is
// incomplete if damaged records were skipped.
func Paths(ctx context.Context, st *seal.Store, scope acl.Path) (all []string, incomplete bool, err error) {
	names, err := st.List(ctx, scope, seal.Page{}, store.Latest)
	if err != nil {
		return nil, false, fmt.Errorf("list the secrets: %w", err)
	}
	if !scope.IsRoot() {
		switch _, err := st.Get(ctx, scope, store.Latest); {
		case err == nil || errors.Is(err, seal.ErrCorrupt):
			all = append(all, scope.String())
		case !errors.Is(err, seal.ErrNotFound):
			return nil, false, fmt.Errorf("read %s: %w", scope, err)
		}
	}
	for _, name := range names.Names {
		all = append(all, path.Join(scope.String(), name))
	}
	slices.Sort(all)
	return all, names.Incomplete, nil
}

// IndexFor returns the name of the index beside these secrets.
func IndexFor(paths []string) string {
	for _, p := range paths {
		if first, _, _ := strings.Cut(p, "/"); first == IndexName {
			return OtherIndexName
		}
	}
	return IndexName
}

// FoldersOf returns every path that has a secret below it.
func FoldersOf(paths []string) map[string]bool {
	folders := map[string]bool{}
	for _, p := range paths {
		for dir := path.Dir(p); dir != "." && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	return folders
}

// FileName returns the name of a secret's file in a tree with these folders.
func FileName(p string, folders map[string]bool) string {
	if folders[p] {
		return p + Taken
	}
	return p
}

func export(ctx context.Context, st *seal.Store, name, file string, sink Sink) (Entry, error) {
	p, err := acl.ParsePath(name)
	if err != nil {
		return Entry{}, fmt.Errorf("internal error: the store lists %q: %w", name, err)
	}
	s, err := st.Get(ctx, p, store.Latest)
	if errors.Is(err, seal.ErrCorrupt) {
		return Entry{Path: name, Error: err.Error()}, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", name, err)
	}
	defer clear(s.Value)
	e := Entry{Path: name, File: file, Kind: "text", Size: len(s.Value), Description: s.Description, Labels: s.Labels,
		Author: s.Author, Version: s.Version}
	if s.Kind == seal.Binary {
		e.Kind = "binary"
	}
	if !s.Created.IsZero() {
		e.Created = s.Created.Format(time.RFC3339)
	}
	if err := sink.Put(file, s.Value); err != nil {
		return Entry{}, fmt.Errorf("write %s: %w", file, err)
	}
	return e, nil
}

// Dir writes new files of mode 0600 and folders of mode 0700 into a folder, and nowhere
// else.
type Dir struct{ folder *atomicfile.Folder }

// ErrNotEmpty: the folder is not empty.
var ErrNotEmpty = errors.New("the folder is not empty; name a new one")

// OpenDir makes the folder, or opens an empty one. ErrNotEmpty, and the errors of
// atomicfile.Rules.
func OpenDir(name string) (*Dir, error) {
	folder, err := atomicfile.Rules{Make: atomicfile.MkdirPrivate}.OpenFolder(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	left, err := folder.Names()
	if err == nil && len(left) > 0 {
		err = ErrNotEmpty
	}
	if err != nil {
		folder.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Dir{folder}, nil
}

// Put implements Sink.
func (d *Dir) Put(name string, data []byte) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q is outside the folder", name)
	}
	folder, err := d.folder.Sub(path.Dir(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	f, err := folder.CreateNew(path.Base(name))
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Close closes the folder.
func (d *Dir) Close() { d.folder.Close() }

// Nowhere drops the files, for an export that only reads the secrets.
type Nowhere struct{}

// Put implements Sink.
func (Nowhere) Put(string, []byte) error { return nil }

// Tar writes into an archive, which the caller must close.
type Tar struct{ Writer *tar.Writer }

// Put implements Sink.
func (t Tar) Put(name string, data []byte) error {
	head := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := t.Writer.WriteHeader(head); err != nil {
		return err
	}
	_, err := bytes.NewReader(data).WriteTo(t.Writer)
	return err
}
