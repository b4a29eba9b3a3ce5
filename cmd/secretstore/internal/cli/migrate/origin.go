// Package migrate finds the secrets of other stores for import: of Vault and OpenBao,
// in their storage or over HTTP, of DC/OS, and in files of the community's tools. It
// decides what each becomes here, and says so before anything is written. It writes
// nothing itself, and nothing to a disk.
//
// A source may lie. It can withhold secrets, and without authentication (HTTP, files)
// it can serve whatever it likes. It cannot choose a path that its names
// do not have, replace a secret without --overwrite, or make the command allocate
// without bounds.
package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/internal/dcosbackup"
	"secretstore/internal/vault"
	"secretstore/internal/vault/kv"
)

// origin is a source of secrets.
type origin interface {
	list(ctx context.Context) (*inventory, error)
	// changes reports whether others may write to the source meanwhile.
	changes() bool
	close()
}

// inventory is what a source holds.
type inventory struct {
	mounts   []*vault.Mount
	records  []record
	problems []vault.Problem
	more     int // problems beyond those named
	warnings []string
	rounds   bool // integers may have been rounded
}

// record is one secret of a source.
type record struct {
	mount *vault.Mount
	name  string // in the source
	path  string // here, without --under and without a member
	read  func(ctx context.Context) (content, error)
}

// content is what a record holds: versions of an object, oldest first, or an item.
type content struct {
	objects []kv.Object
	item    *forms.Item
	labels  []string // of objects
}

func (c content) clear() {
	for _, o := range c.objects {
		o.Clear()
	}
	if c.item != nil {
		clear(c.item.Value)
	}
}

// members returns the names of the members that the object has now.
func (c content) members() (all []string) {
	if len(c.objects) == 0 {
		return nil
	}
	for _, m := range c.objects[len(c.objects)-1].Members {
		all = append(all, m.Name)
	}
	return all
}

// sourceError is an error that would repeat for every secret of the source. It does
// not unwrap: an error of the source is not one of the server that secrets go to.
type sourceError struct{ text string }

func (s *sourceError) Error() string { return s.text }

// Hopeless reports whether the error of one secret would repeat for all others.
func Hopeless(err error) bool {
	_, ok := errors.AsType[*sourceError](err)
	return ok
}

func failedSource(err error) error { return &sourceError{fmt.Sprintf("the source: %v", err)} }

// ofVault makes an inventory of a listing. folderOf says where the secrets of a mount go.
func ofVault(l *vault.Listing, folderOf func(*vault.Mount) string) *inventory {
	inv := &inventory{mounts: l.Mounts, problems: l.Problems, more: l.More, warnings: l.Warnings}
	for _, s := range l.Secrets {
		r := record{mount: s.Mount, name: s.Mount.Namespace + s.Mount.Path + s.Path, path: folderOf(s.Mount) + s.Path}
		labels := labelsOf(s.Labels)
		r.read = func(ctx context.Context) (content, error) {
			objects, err := s.Read(ctx)
			return content{objects: objects, labels: labels}, err
		}
		inv.records = append(inv.records, r)
	}
	return inv
}

// held is a source that is in memory.
type held struct {
	mount *vault.Mount
	c     *dcosbackup.Content
}

func newHeld(kind string, c *dcosbackup.Content) *held {
	return &held{&vault.Mount{Path: "/", Kind: kind}, c}
}

func (h *held) list(context.Context) (*inventory, error) {
	inv := &inventory{mounts: []*vault.Mount{h.mount}, warnings: h.c.Notes}
	for _, p := range h.c.Problems {
		inv.problems = append(inv.problems, vault.Problem{Name: p.Name, Err: p.Err})
	}
	for _, s := range h.c.Secrets {
		inv.records = append(inv.records, record{h.mount, s.Path, s.Path, func(context.Context) (content, error) {
			item := itemOf(s)
			item.Value = bytes.Clone(s.Value) // the reader clears it
			return content{item: item}, nil
		}})
	}
	return inv, nil
}

func (h *held) changes() bool { return false }

func (h *held) close() { h.c.Clear() }

func itemOf(s dcosbackup.Secret) *forms.Item {
	item := &forms.Item{Value: s.Value, Binary: s.Binary}
	if s.Description != "" {
		item.Description = &s.Description
	}
	if len(s.Labels) > 0 {
		item.Labels = &s.Labels
	}
	return item
}

// quoted makes a name from a source fit for a line on a terminal.
func quoted(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) || strings.TrimSpace(name) != name {
		return strconv.QuoteToGraphic(name)
	}
	return name
}
