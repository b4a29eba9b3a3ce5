package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
)

// recordFormat is the first byte of a record. JSON follows. A reader of this
// format ignores members that it does not know.
const recordFormat = 1

// ErrBadRecord means that a record is not one that [Encode] could have made.
var ErrBadRecord = errors.New("the record of the identities is not well-formed")

// The stored forms of entries. Names are never reused.
type (
	storedUser struct {
		UID         string             `json:"uid"`
		Description string             `json:"description,omitempty"`
		Provider    string             `json:"provider,omitempty"`
		ProviderID  string             `json:"provider_id,omitempty"`
		Issuer      string             `json:"issuer,omitempty"`
		Subject     string             `json:"subject,omitempty"`
		Hash        string             `json:"hash,omitempty"`
		Keys        []storedKey        `json:"keys,omitempty"`
		Generation  Generation         `json:"generation"`
		Made        storedOrigin       `json:"made"`
		Grants      []storedGrant      `json:"grants,omitempty"`
		Groups      []storedMembership `json:"groups,omitempty"`
	}
	storedGroup struct {
		GID         string        `json:"gid"`
		Description string        `json:"description,omitempty"`
		Provider    string        `json:"provider,omitempty"`
		Generation  Generation    `json:"generation"`
		Made        storedOrigin  `json:"made"`
		Grants      []storedGrant `json:"grants,omitempty"`
	}
	storedACL struct {
		RID         string       `json:"rid"`
		Name        string       `json:"name,omitempty"`
		Description string       `json:"description,omitempty"`
		Generation  Generation   `json:"generation"`
		Made        storedOrigin `json:"made"`
	}
	storedOrigin struct {
		By string    `json:"by,omitempty"`
		At time.Time `json:"at"`
	}
	storedKey struct {
		ID          string       `json:"id"`
		PEM         string       `json:"pem"`
		Made        storedOrigin `json:"made"`
		RetireAfter time.Time    `json:"retire_after,omitzero"`
	}
	storedGrant struct {
		RID    string       `json:"rid"`
		ACL    Generation   `json:"acl"`
		Action string       `json:"action"`
		Made   storedOrigin `json:"made"`
		Until  time.Time    `json:"until,omitzero"`
	}
	storedMembership struct {
		GID    string       `json:"gid"`
		Group  Generation   `json:"group"`
		Made   storedOrigin `json:"made"`
		Mapped bool         `json:"mapped,omitempty"`
	}
)

// MarshalText implements encoding.TextMarshaler.
func (g Generation) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", g[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (g *Generation) UnmarshalText(text []byte) error {
	var b []byte
	if n, err := fmt.Sscanf(string(text), "%x", &b); n != 1 || err != nil || len(b) != len(g) || len(text) != 2*len(g) {
		return ErrBadRecord
	}
	copy(g[:], b)
	return nil
}

// Encode returns the record of an entry. The error has the code [InvalidData] if the
// entry is too large for one.
func Encode(e Entry) ([]byte, error) {
	var stored any
	switch e := e.(type) {
	case *User:
		stored = e.stored()
	case *Group:
		stored = &storedGroup{string(e.GID), e.Description, string(e.Provider), e.Generation, originText(e.Made), storedGrants(e.Grants)}
	case *ACL:
		stored = &storedACL{e.RID.String(), e.Name, e.Description, e.Generation, originText(e.Made)}
	default:
		return nil, fmt.Errorf("%w: %T is not an entry", ErrBadRecord, e)
	}
	text, err := json.Marshal(stored)
	if len(text) >= MaxRecordBytes {
		return nil, refuse(InvalidData, "`%s` would need more than %d KiB: grant to a group, or use a trailing *", e.ID().Name, MaxRecordBytes>>10)
	}
	return append([]byte{recordFormat}, text...), err
}

func originText(o Origin) storedOrigin { return storedOrigin{string(o.By), o.At} }

func (o storedOrigin) origin() Origin { return Origin{UID(o.By), o.At} }

func (u *User) stored() *storedUser {
	s := &storedUser{
		UID: string(u.UID), Description: u.Description, Provider: string(u.Provider.Type), ProviderID: u.Provider.ID, Issuer: u.Provider.Issuer, Subject: u.Provider.Subject,
		Hash: u.Hash, Generation: u.Generation, Made: originText(u.Made), Grants: storedGrants(u.Grants),
	}
	for _, k := range u.Keys {
		s.Keys = append(s.Keys, storedKey{k.ID, k.PEM, originText(k.Origin), k.RetireAfter})
	}
	for _, m := range u.Groups {
		s.Groups = append(s.Groups, storedMembership{string(m.GID), m.Group, originText(m.Origin), m.Mapped})
	}
	return s
}

func storedGrants(grants []Grant) []storedGrant {
	var all []storedGrant
	for _, g := range grants {
		all = append(all, storedGrant{g.RID.String(), g.ACL, g.Action.String(), originText(g.Origin), g.Until})
	}
	return all
}

// Decode reads the record of an entry of the given id. Whatever breaks a rule of
// this package makes the record invalid: it gives no right. ErrBadRecord.
func Decode(id EntryID, record []byte) (Entry, error) {
	if len(record) == 0 || record[0] != recordFormat {
		return nil, ErrBadRecord
	}
	var e Entry
	var err error
	switch id.Kind {
	case KindUser:
		e, err = decodeUser(record[1:])
	case KindGroup:
		e, err = decodeGroup(record[1:])
	case KindACL:
		e, err = decodeACL(record[1:])
	default:
		err = ErrBadRecord
	}
	if err != nil || e.ID() != id {
		return nil, ErrBadRecord
	}
	return e, nil
}

func unmarshal(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(to); err != nil {
		return err
	}
	if d.More() {
		return ErrBadRecord
	}
	return nil
}

func decodeUser(text []byte) (*User, error) {
	var s storedUser
	if err := unmarshal(text, &s); err != nil {
		return nil, err
	}
	uid, err := ParseUID(s.UID)
	if err != nil {
		return nil, err
	}
	u := &User{UID: uid, Generation: s.Generation}
	if !u.Exists() {
		return u, nil // whatever else it says
	}
	u.Description, u.Hash, u.Made = s.Description, s.Hash, s.Made.origin()
	u.Provider = Provider{ProviderType(s.Provider), s.ProviderID, s.Issuer, s.Subject}
	if err := u.Provider.Type.check(); err != nil {
		return nil, err
	}
	for _, k := range s.Keys {
		u.Keys = append(u.Keys, Key{k.ID, k.PEM, k.Made.origin(), k.RetireAfter})
	}
	for _, m := range s.Groups {
		gid, err := ParseGID(m.GID)
		if err != nil {
			return nil, err
		}
		u.Groups = append(u.Groups, Membership{gid, m.Group, m.Made.origin(), m.Mapped})
	}
	u.Grants, err = grantsOf(s.Grants)
	return u, err
}

func decodeGroup(text []byte) (*Group, error) {
	var s storedGroup
	if err := unmarshal(text, &s); err != nil {
		return nil, err
	}
	gid, err := ParseGID(s.GID)
	if err != nil {
		return nil, err
	}
	grants, err := grantsOf(s.Grants)
	return &Group{gid, s.Description, ProviderType(s.Provider), s.Generation, s.Made.origin(), grants}, err
}

func decodeACL(text []byte) (*ACL, error) {
	var s storedACL
	if err := unmarshal(text, &s); err != nil {
		return nil, err
	}
	rid, err := ParseRID(s.RID)
	return &ACL{rid, s.Name, s.Description, s.Generation, s.Made.origin()}, err
}

func grantsOf(stored []storedGrant) ([]Grant, error) {
	var all []Grant
	for _, s := range stored {
		rid, err := ParseRID(s.RID)
		if err != nil {
			return nil, err
		}
		action, err := acl.ParseAction(s.Action)
		if err != nil {
			return nil, err
		}
		all = append(all, Grant{rid, s.ACL, action, s.Made.origin(), s.Until})
	}
	return all, nil
}
