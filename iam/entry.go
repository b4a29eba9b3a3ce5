package iam

import (
	"crypto/sha256"
	"time"

	"secretstore/acl"
)

// The limits of one user or group, which is one record in the storage.
const (
	MaxGrants      = 2000
	MaxMemberships = 1000
)

// Generation distinguishes an account, a group or an ACL from another one of the
// same id, made after it was deleted. It is random. What refers to another
// generation refers to nothing.
type Generation [16]byte

// Identity is an account with its generation. A sign-in and its tokens are for an
// identity: a new password, a revocation and a deletion change the generation, and
// so end them. The zero value is nobody.
type Identity struct {
	UID        UID
	Generation Generation
}

// FileIdentity returns the identity of a superuser that a file names, with the
// hash of its password there. Another hash, also of the same password, is another
// identity. The hash cannot be found from it, nor a guess at the password checked:
// that takes the random salt in the hash.
func FileIdentity(uid UID, hash string) Identity {
	sum := sha256.Sum256([]byte("secretstore superuser file\n" + string(uid) + "\n" + hash))
	return Identity{uid, Generation(sum[:len(Generation{})])}
}

// Origin says who made something, and when.
type Origin struct {
	By UID // "" if it was not a user
	At time.Time
}

// Entry is what is stored as one record: a *[User], *[Group] or *[ACL]. Entries
// are immutable.
type Entry interface {
	// ID distinguishes all entries.
	ID() EntryID
}

// EntryID names an entry. It is comparable.
type EntryID struct {
	Kind Kind
	Name string // the uid, the gid, or the canonical rid
}

// Kind is a class of entries. Its values are stored. The zero value is invalid.
type Kind uint8

// The kinds of entries.
const (
	KindUser Kind = iota + 1
	KindGroup
	KindACL
)

// User is a person or a service account. One without a Generation was deleted: it
// is kept, so that tokens of other issuers never stand for it again.
type User struct {
	UID         UID
	Description string
	Provider    Provider
	// Hash is the crypt(3) hash of the password; "" for others than local people.
	Hash string
	// Keys are the public keys of a service account, newest first.
	Keys       []Key
	Generation Generation
	Made       Origin
	Grants     []Grant
	Groups     []Membership
}

// ID implements Entry.
func (u *User) ID() EntryID { return EntryID{KindUser, string(u.UID)} }

// Exists reports whether the account was not deleted.
func (u *User) Exists() bool { return u != nil && u.Generation != Generation{} }

// IsService reports whether it is a service account.
func (u *User) IsService() bool { return len(u.Keys) > 0 }

// IsRemote reports whether another provider than this server knows the password.
func (u *User) IsRemote() bool { return u.Provider.Type != Internal }

// Provider says who signs an account in.
type Provider struct {
	Type ProviderType
	ID   string // of [OIDC] and [SAML]; for OIDC the name of the provider, or its issuer
	// Issuer and Subject are who the account is there, once it has signed in with
	// [OIDC]: the name of an account is unique only within its issuer.
	Issuer, Subject string
}

// ProviderType is a kind of provider, in the words of DC/OS.
type ProviderType string

// The provider types.
const (
	Internal ProviderType = "internal"
	LDAP     ProviderType = "ldap"
	OIDC     ProviderType = "oidc"
	SAML     ProviderType = "saml"
)

// Key is a public key of a service account.
type Key struct {
	ID  string
	PEM string // as it was given
	Origin
	RetireAfter time.Time // zero if it has no end
}

// Ended reports whether the key does not count any more.
func (k *Key) Ended(now time.Time) bool { return !k.RetireAfter.IsZero() && !now.Before(k.RetireAfter) }

// Group is a group of users.
type Group struct {
	GID         GID
	Description string
	Provider    ProviderType
	Generation  Generation
	Made        Origin
	Grants      []Grant
}

// ID implements Entry.
func (g *Group) ID() EntryID { return EntryID{KindGroup, string(g.GID)} }

// ACL says that grants can be made on a resource.
type ACL struct {
	RID         RID
	Name        string // the rid as it was first written
	Description string
	Generation  Generation
	Made        Origin
}

// ID implements Entry.
func (a *ACL) ID() EntryID { return EntryID{KindACL, a.RID.String()} }

// Grant allows one action on a resource.
type Grant struct {
	RID    RID
	ACL    Generation // of the ACL that it is in
	Action acl.Action
	Origin
	Until time.Time // zero if it has no end
}

// over reports whether the grant has ended.
func (g *Grant) over(now time.Time) bool { return !g.Until.IsZero() && !now.Before(g.Until) }

// Membership puts a user into a group.
type Membership struct {
	GID   GID
	Group Generation
	Origin
	// Mapped says that it follows from a claim of the provider, and ends with it.
	Mapped bool
}
