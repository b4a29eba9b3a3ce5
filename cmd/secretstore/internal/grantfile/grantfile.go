// Package grantfile reads files that say who may do what in an IAM, and compares them
// with the grants of a store. It does no I/O.
//
// A file is either the list that "grants list --json" prints, or a policy file. Both
// name all grants of the store. A policy file also names groups with their members:
// these groups have these members and no others.
package grantfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/acl"
	"secretstore/iam"
)

// MaxBytes bounds a file: 100,000 grants with long names.
const MaxBytes = 64 << 20

// Item is a grant of a user or of a group; with a user and a group, and without a
// resource, it is a membership; with a group alone, it is the group itself.
type Item struct {
	User     string    `json:"user,omitempty"`
	Group    string    `json:"group,omitempty"`
	Resource string    `json:"resource,omitempty"`
	Action   string    `json:"action,omitempty"`
	Until    time.Time `json:"until,omitzero"` // zero if the grant has no end
}

// IsGrant reports whether the item is a grant.
func (i Item) IsGrant() bool { return i.Resource != "" }

// Holder names the user or the group that a grant is for.
func (i Item) Holder() string {
	if i.Group != "" {
		return "group " + i.Group
	}
	return "user " + i.User
}

// String describes the item in a line.
func (i Item) String() string {
	switch {
	case !i.IsGrant() && i.User != "":
		return "group " + i.Group + ": member " + i.User
	case !i.IsGrant():
		return "group " + i.Group
	}
	s := i.Holder() + ": " + i.Action + " on " + i.Resource
	if !i.Until.IsZero() {
		s += ", until " + i.Until.UTC().Format(time.RFC3339)
	}
	return s
}

// Listed is a grant as a list shows it.
type Listed struct {
	Item
	By string    `json:"by,omitempty"` // the uid that made it
	At time.Time `json:"at,omitzero"`
}

// Content is what a file says.
type Content struct {
	Grants []Item
	// Groups are those that a policy file names, and Members their members.
	Groups  []string
	Members []Item
}

// Parse reads a file. The error names all that is wrong with it.
func Parse(data []byte) (Content, error) {
	if len(data) > MaxBytes {
		return Content{}, fmt.Errorf("it is larger than %d MiB", MaxBytes>>20)
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return parseList(data)
	}
	policy, err := acl.ParsePolicy(data)
	if err != nil {
		return Content{}, err
	}
	c := ofPolicy(policy)
	return c, c.check()
}

func ofPolicy(policy *acl.Policy) (c Content) {
	for _, e := range policy.FileEntries() {
		for _, g := range e.Grants {
			c.Grants = append(c.Grants, Item{User: e.UID, Group: e.Group, Resource: iam.SpellRID(g.ID), Action: g.Action.String()})
		}
		if e.Group == "" {
			continue
		}
		c.Groups = append(c.Groups, e.Group)
		for _, uid := range e.Members {
			c.Members = append(c.Members, Item{Group: e.Group, User: uid})
		}
	}
	return c
}

func parseList(data []byte) (c Content, err error) {
	var list []Listed
	if err := json.Unmarshal(data, &list, json.RejectUnknownMembers(true)); err != nil {
		return Content{}, fmt.Errorf("it is not a list of grants: %w", err)
	}
	for _, l := range list {
		l.Resource, l.Until = iam.SpellRID(l.Resource), l.Until.UTC()
		c.Grants = append(c.Grants, l.Item)
	}
	return c, c.check()
}

// maxShown bounds how many mistakes an error names.
const maxShown = 20

// check names the grants that no IAM can have.
func (c *Content) check() error {
	var wrong []error
	for i, g := range c.Grants {
		if err := checkGrant(g); err != nil {
			wrong = append(wrong, fmt.Errorf("grant %d: %w", i+1, err))
		}
	}
	if more := len(wrong) - maxShown; more > 0 {
		wrong = append(wrong[:maxShown], fmt.Errorf("and %d more", more))
	}
	return errors.Join(wrong...)
}

func checkGrant(i Item) error {
	if (i.User == "") == (i.Group == "") {
		return errors.New("it needs either user or group")
	}
	if _, err := iam.ParseRID(i.Resource); err != nil {
		return err
	}
	_, err := iam.ParseAction(i.Action)
	return err
}

// key tells two items apart, however their resource is spelled.
type key struct {
	user, group string
	rid         iam.RID
	action      string
}

func (i Item) key() key {
	rid, _ := iam.ParseRID(i.Resource) // zero for what is not a grant; others were checked
	return key{i.User, i.Group, rid, i.Action}
}

// Store is what a store has.
type Store struct {
	Users, Groups map[string]bool // those that exist
	Grants        []Item
	Members       []Item // of the groups that the file names
	// Fixed are the members that the file of superusers of a server names. No request
	// removes them.
	Fixed []Item
}

// ofDCOS is the grant that every IAM has, and that cannot be revoked.
var ofDCOS = Item{Group: string(iam.Superusers), Resource: iam.Superuser.String(), Action: acl.Full.String()}.key()

// Compare returns what only the file has, and what only the store has, each in the
// order in which it is to be changed. A grant with another end is in both.
func (s *Store) Compare(c Content) (onlyFile, onlyStore []Item) {
	for _, gid := range c.Groups {
		if !s.Groups[gid] {
			onlyFile = append(onlyFile, Item{Group: gid})
		}
	}
	have, want, fixed := keyed(s.Grants, s.Members, s.Fixed), keyed(c.Grants, c.Members), keyed(s.Fixed)
	for k, i := range want {
		if now, ok := have[k]; !ok || !now.Until.Equal(i.Until) {
			onlyFile = append(onlyFile, i)
		}
	}
	for k, i := range have {
		_, stays := fixed[k]
		if then, ok := want[k]; k != ofDCOS && !stays && (!ok || !then.Until.Equal(i.Until)) {
			onlyStore = append(onlyStore, i)
		}
	}
	slices.SortFunc(onlyFile, inOrder)
	slices.SortFunc(onlyStore, func(a, b Item) int {
		// The caller may lose its own rights: these come last.
		return cmp.Or(cmp.Compare(last(a), last(b)), inOrder(a, b))
	})
	return onlyFile, onlyStore
}

// Step is a change of the store.
type Step struct {
	Add  bool // or else remove
	Item Item
}

// Steps returns the changes after which the store has what the file says: what is new,
// then grants that get another end, then what is taken away. A grant gets another end by
// being removed and added, so those of superusers come last: the caller may lose its
// rights in between.
//
// If only the first steps are made, those of the next comparison make the rest.
func Steps(onlyFile, onlyStore []Item) (steps []Step) {
	replaced := make(map[key]Item)
	for _, i := range onlyStore {
		replaced[i.key()] = i
	}
	var ends [2][]Step
	for _, i := range onlyFile {
		if old, ok := replaced[i.key()]; ok {
			ends[last(i)] = append(ends[last(i)], Step{Item: old}, Step{Add: true, Item: i})
			continue
		}
		steps = append(steps, Step{Add: true, Item: i})
	}
	steps = append(steps, ends[0]...)
	for _, i := range onlyFile {
		delete(replaced, i.key())
	}
	for _, i := range onlyStore {
		if _, ok := replaced[i.key()]; ok {
			steps = append(steps, Step{Item: i})
		}
	}
	return append(steps, ends[1]...)
}

func keyed(lists ...[]Item) map[key]Item {
	all := make(map[key]Item)
	for _, list := range lists {
		for _, i := range list {
			all[i.key()] = i
		}
	}
	return all
}

func last(i Item) int {
	if i.Resource == iam.Superuser.String() || !i.IsGrant() && i.Group == string(iam.Superusers) {
		return 1
	}
	return 0
}

// inOrder puts groups before their members, and these before grants.
func inOrder(a, b Item) int {
	kind := func(i Item) int {
		switch {
		case i.IsGrant():
			return 2
		case i.User != "":
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(kind(a), kind(b)), strings.Compare(a.Group, b.Group), strings.Compare(a.User, b.User),
		strings.Compare(a.Resource, b.Resource), strings.Compare(a.Action, b.Action))
}
