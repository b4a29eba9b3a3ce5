// Package live finds the secrets of a running Vault or OpenBao over its HTTP API. The
// requests are the caller's: this package says what to ask, and reads the answers. It
// trusts nothing in them but the values.
package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/internal/vault"
	"secretstore/internal/vault/kv"
)

const (
	// maxDepth bounds the folders in each other.
	maxDepth = 64
	// maxFolders bounds how many folders are listed.
	maxFolders = 200_000
	atOnce     = 8
)

// Answer is the answer to a GET.
type Answer struct {
	Status int
	Body   []byte
}

// Getter sends a GET for the rest of an escaped URL, "v1/secret/a?list=true". It
// returns an error if there is no answer, or one that no later request would have
// (429, 5xx). The answer's body may be cleared.
type Getter interface {
	Get(ctx context.Context, rest string) (Answer, error)
}

// Errors of one record or folder.
var (
	ErrDenied  = errors.New("the token may not read it")
	ErrAnswer  = errors.New("the answer is not one of Vault")
	ErrName    = errors.New("the server lists an impossible name")
	ErrDeep    = fmt.Errorf("folders are nested more than %d deep", maxDepth)
	errFolders = fmt.Errorf("there are more than %d folders", maxFolders)
)

// ErrMounts: the token cannot list what is mounted.
var ErrMounts = errors.New("the token is wrong, or may not list the mounts: it needs a policy with read for sys/mounts")

// List finds the secrets of all KV engines. The namespace is the Getter's.
func List(ctx context.Context, get Getter, o vault.Options) (*vault.Listing, error) {
	found, err := mounts(ctx, get)
	if err != nil {
		return nil, err
	}
	l, room := &vault.Listing{}, &vault.Room{}
	if err := others(ctx, get, l); err != nil {
		return nil, err
	}
	for _, m := range found {
		if len(o.Mounts) > 0 && !slices.Contains(o.Mounts, m.path) {
			continue
		}
		w := &walk{get: get, o: o, engine: m, l: l, room: room, mount: &vault.Mount{Namespace: o.Namespace, Path: m.path, Kind: m.kind()}}
		l.Mounts = append(l.Mounts, w.mount)
		if err := w.run(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// engine is a KV secrets engine.
type engine struct {
	path string
	v2   bool
}

func (e engine) kind() string {
	if e.v2 {
		return "KV v2"
	}
	return "KV v1"
}

// mounts returns the KV engines that the token may see.
func mounts(ctx context.Context, get Getter) ([]engine, error) {
	var all []engine
	for _, from := range []string{"v1/sys/mounts", "v1/sys/internal/ui/mounts"} {
		a, err := get.Get(ctx, from)
		switch {
		case err != nil:
			return nil, err
		case a.Status != http.StatusOK: // the second path is absent in 0.8.3
			continue
		}
		if all, err = parseMounts(a.Body); err != nil {
			return nil, err
		}
		return all, nil
	}
	return nil, ErrMounts
}

// parseMounts reads the answer of sys/mounts or sys/internal/ui/mounts.
func parseMounts(body []byte) ([]engine, error) {
	type mount struct {
		Type    string            `json:"type"`
		Options map[string]string `json:"options"`
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return nil, ErrAnswer
	}
	// 0.5.3 has the table at the top, later ones in data, and ui/mounts in
	// data.secret.
	for _, inner := range []string{"data", "secret"} {
		var below map[string]json.RawMessage
		if raw, ok := doc[inner]; ok && string(raw) != "null" && json.Unmarshal(raw, &below) == nil {
			doc = below
		}
	}
	var all []engine
	for _, path := range slices.Sorted(maps.Keys(doc)) {
		if !strings.HasSuffix(path, "/") {
			continue
		}
		var m mount
		if json.Unmarshal(doc[path], &m) != nil {
			return nil, ErrAnswer
		}
		if m.Type != "kv" && m.Type != "generic" {
			continue
		}
		if !validPath(strings.TrimSuffix(path, "/")) {
			return nil, fmt.Errorf("%w: the mount %.60q", ErrName, path)
		}
		version := m.Options["version"]
		if version != "" && version != "1" && version != "2" {
			return nil, fmt.Errorf("the mount %q has the unknown version %.20q", path, version)
		}
		all = append(all, engine{path, version == "2" && m.Type == "kv"})
	}
	return all, nil
}

// others warns about namespaces, which another request has to name.
func others(ctx context.Context, get Getter, l *vault.Listing) error {
	a, err := get.Get(ctx, "v1/sys/namespaces?list=true")
	if err != nil {
		return err
	}
	if names, err := parseList(a.Body); a.Status == http.StatusOK && err == nil && len(names) > 0 {
		l.Warnings = append(l.Warnings, fmt.Sprintf("the namespaces in this one are not imported; name one of them with --from-namespace: %.200q", names))
	}
	return nil
}

// parseList reads the names in a folder. A name that could lead elsewhere is refused.
func parseList(body []byte) ([]string, error) {
	var doc struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return nil, ErrAnswer
	}
	return doc.Data.Keys, nil
}

// validPath reports whether no part is empty or leads elsewhere.
func validPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// walk lists one mount, one level of folders after the other.
type walk struct {
	get     Getter
	o       vault.Options
	engine  engine
	mount   *vault.Mount
	folders int

	mu   sync.Mutex
	l    *vault.Listing // guarded by mu
	room *vault.Room    // guarded by mu
}

func (w *walk) run(ctx context.Context) error {
	level := []string{""}
	for depth := 0; len(level) > 0; depth++ {
		if depth == maxDepth {
			w.note(level[0], ErrDeep)
			return nil
		}
		if w.folders += len(level); w.folders > maxFolders {
			return errFolders
		}
		var next, secrets []string
		err := each(ctx, level, func(ctx context.Context, folder string) error {
			names, err := w.list(ctx, folder)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, name := range names {
				full := folder + name
				if err := w.room.Take(full); err != nil {
					return err
				}
				if strings.HasSuffix(name, "/") {
					next = append(next, full)
				} else {
					secrets = append(secrets, full)
				}
			}
			return err
		})
		if err == nil {
			err = each(ctx, unique(secrets), w.secret)
		}
		if err != nil {
			return err
		}
		level = unique(next)
	}
	return nil
}

// unique sorts names. A server could list one twice.
func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func each(ctx context.Context, all []string, do func(ctx context.Context, name string) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, name := range all {
		g.Go(func() error { return do(running, name) })
	}
	return g.Wait()
}

func (w *walk) note(path string, err error) {
	w.l.Note(w.mount.Namespace+w.mount.Path+path, err)
}

// url returns the rest of a URL. area is "metadata/" or "data/", for KV v2.
func (w *walk) url(area, path string, query url.Values) string {
	if !w.engine.v2 {
		area = ""
	}
	parts := strings.Split(w.engine.path+area+path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	rest := "v1/" + strings.Join(parts, "/")
	if len(query) > 0 {
		rest += "?" + query.Encode()
	}
	return rest
}

// list returns the names in a folder. What is wrong with one folder is noted.
func (w *walk) list(ctx context.Context, folder string) (names []string, err error) {
	a, err := w.get.Get(ctx, w.url("metadata/", folder, url.Values{"list": {"true"}}))
	if err != nil || a.Status == http.StatusNotFound {
		return nil, err
	}
	all, err := parseList(a.Body)
	if problem := problemOf(a.Status, err); problem != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note(folder, problem)
		return nil, nil
	}
	for _, name := range all {
		if leaf := strings.TrimSuffix(name, "/"); strings.Contains(leaf, "/") || !validPath(leaf) {
			w.mu.Lock()
			w.note(folder, fmt.Errorf("%w: %.60q", ErrName, name))
			w.mu.Unlock()
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// problemOf returns what is wrong with an answer about one record or folder.
func problemOf(status int, err error) error {
	switch {
	case status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return vault.ErrGone
	case status != http.StatusOK:
		return fmt.Errorf("the answer is %d %s", status, http.StatusText(status))
	}
	return err
}

// secret adds the secret with a path.
func (w *walk) secret(ctx context.Context, path string) error {
	s := vault.Secret{Mount: w.mount, Path: path, Read: func(ctx context.Context) ([]kv.Object, error) {
		return w.read(ctx, path, []uint64{0})
	}}
	if w.engine.v2 {
		a, err := w.get.Get(ctx, w.url("metadata/", path, nil))
		if err != nil {
			return err
		}
		meta, err := parseMetadata(a.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		if problem := problemOf(a.Status, err); problem != nil {
			w.mount.Damaged++
			w.note(path, problem)
			return nil
		}
		numbers := meta.Readable(w.o.Now, w.o.Versions)
		if len(numbers) == 0 {
			w.mount.Count(meta)
			return nil
		}
		for name, value := range meta.Custom {
			if err := w.room.Take(name, value); err != nil {
				return err
			}
		}
		s.Labels = meta.Custom
		s.Read = func(ctx context.Context) ([]kv.Object, error) { return w.read(ctx, path, numbers) }
		return w.l.Add(s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.l.Add(s)
}

// parseMetadata reads the answer about the versions of a secret of KV v2.
func parseMetadata(body []byte) (kv.Metadata, error) {
	var doc struct {
		Data *struct {
			Current  uint64            `json:"current_version"`
			Custom   map[string]string `json:"custom_metadata"`
			Versions map[string]struct {
				Deleted   string `json:"deletion_time"`
				Destroyed bool   `json:"destroyed"`
			} `json:"versions"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &doc) != nil || doc.Data == nil {
		return kv.Metadata{}, ErrAnswer
	}
	meta := kv.Metadata{Current: doc.Data.Current, Custom: doc.Data.Custom, Versions: map[uint64]kv.Version{}}
	for text, v := range doc.Data.Versions {
		number, err := strconv.ParseUint(text, 10, 64)
		var deleted time.Time
		if err == nil && v.Deleted != "" {
			deleted, err = time.Parse(time.RFC3339Nano, v.Deleted)
		}
		if _, twice := meta.Versions[number]; err != nil || number == 0 || twice {
			return kv.Metadata{}, ErrAnswer
		}
		meta.Versions[number] = kv.Version{Deleted: deleted, Destroyed: v.Destroyed}
	}
	return meta, nil
}

// read reads versions of a secret; 0 is the only one of KV v1.
func (w *walk) read(ctx context.Context, path string, numbers []uint64) (all []kv.Object, err error) {
	for _, number := range numbers {
		var query url.Values
		if number != 0 {
			query = url.Values{"version": {strconv.FormatUint(number, 10)}}
		}
		var a Answer
		var o kv.Object
		if a, err = w.get.Get(ctx, w.url("data/", path, query)); err == nil {
			if a.Status == http.StatusOK {
				o, err = parseSecret(a.Body, w.engine.v2)
			}
			if problem := problemOf(a.Status, err); problem != nil {
				err = &vault.Damage{Err: problem}
			}
			clear(a.Body)
		}
		if err != nil {
			for _, o := range all {
				o.Clear()
			}
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// parseSecret reads the answer with the data of a secret.
func parseSecret(body []byte, v2 bool) (kv.Object, error) {
	var doc struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return kv.Object{}, ErrAnswer
	}
	if v2 {
		outer := doc.Data
		doc.Data = nil
		defer clear(outer)
		if json.Unmarshal(outer, &doc) != nil {
			return kv.Object{}, ErrAnswer
		}
	}
	defer clear(doc.Data)
	return kv.ParseObject(doc.Data)
}
