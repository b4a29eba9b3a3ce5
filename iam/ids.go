package iam

import (
	"strings"

	"secretstore/acl"
)

// The limits of ids, in bytes.
const (
	MaxUIDBytes = 96
	MaxGIDBytes = 64
	MaxRIDBytes = 1024
)

// UID names a user or a service account. Two that differ in case are different.
type UID string

// GID names a group.
type GID string

// anonymous is a uid that DC/OS reserves.
const anonymous = "anonymous"

// ParseUID returns the user id s: 1 to [MaxUIDBytes] letters, digits and -_@.
// The error has the code [InvalidUserID].
func ParseUID(s string) (UID, error) {
	if !isID(s, MaxUIDBytes) || s == anonymous {
		return "", refuse(InvalidUserID, "Invalid user ID: %s", shown(s))
	}
	return UID(s), nil
}

// ParseGID returns the group id s: 1 to [MaxGIDBytes] letters, digits and -_@.
// The error has the code [InvalidGroupID].
func ParseGID(s string) (GID, error) {
	if !isID(s, MaxGIDBytes) {
		return "", refuse(InvalidGroupID, "Invalid group ID: %s", shown(s))
	}
	return GID(s), nil
}

// isID also refuses "." and "..", which clients remove from the path of a URL.
func isID(s string, limit int) bool {
	if s == "" || len(s) > limit || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_@.", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// shown returns what an error repeats of an invalid id.
func shown(s string) string { return strings.ToValidUTF8(s[:min(len(s), MaxUIDBytes)], "\uFFFD") }

// RID names a resource that grants are about. It is comparable: two spellings of
// one resource of the secret store are one RID. Make it with [ParseRID]; the
// zero value names nothing.
type RID struct {
	canonical string
	secret    bool // canonical is that of an acl.Pattern
}

// Superuser is dcos:superuser: any action on it allows everything.
var Superuser = RID{canonical: acl.SuperuserResource().String(), secret: true}

// slashes holds the spellings of / in resource ids: clients write it
// percent-encoded, once or twice.
var slashes = strings.NewReplacer("%252F", "/", "%252f", "/", "%2F", "/", "%2f", "/")

// allSecrets is how acl spells each pattern for several kinds of its resources. One
// of these may be dcos:*, which covers other resources too, so it keeps its own
// spelling.
const allSecrets = "dcos:secrets:*"

// ParseRID returns the resource s: 1 to [MaxRIDBytes] printable ASCII characters
// without space, ?, # and \, also in the canonical spelling. For a resource of the
// secret store all spellings that package acl knows are the same; other names are
// only compared. The error has the code [InvalidResourceID].
func ParseRID(s string) (RID, error) {
	if s == "" || len(s) > MaxRIDBytes {
		return RID{}, ridLength()
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`?#\`, c) >= 0 {
			return RID{}, refuse(InvalidResourceID, "Invalid resource ID: it has a character that is not allowed, at %d", i+1)
		}
	}
	p, err := acl.ParsePattern(s)
	r := RID{canonical: slashes.Replace(s), secret: err == nil}
	if r.secret && p.String() != allSecrets {
		r.canonical = p.String()
	}
	if len(r.canonical) > MaxRIDBytes { // it has the slash that s lacks, and would not be read again
		return RID{}, ridLength()
	}
	return r, nil
}

func ridLength() *Error {
	return refuse(InvalidResourceID, "Invalid resource ID: it must have 1 to %d characters", MaxRIDBytes)
}

// SpellRID returns the rid s with each slash as such, for people: clients send it
// percent-encoded.
func SpellRID(s string) string { return slashes.Replace(s) }

// String returns the canonical spelling.
func (r RID) String() string { return r.canonical }

// Pattern returns what r covers among the resources of the secret store. It is
// not ok if r is not one of these.
func (r RID) Pattern() (p acl.Pattern, ok bool) {
	if !r.secret {
		return acl.Pattern{}, false
	}
	p, err := acl.ParsePattern(r.canonical)
	return p, err == nil
}

// Covers reports whether a grant on r allows all that the same grant on other does.
func (r RID) Covers(other RID) bool {
	if r == other || r == Superuser {
		return r.canonical != "" && other.canonical != ""
	}
	p, ours := r.Pattern()
	q, others := other.Pattern()
	switch {
	case ours && others && q.String() == allSecrets: // other covers more than secrets
		return p.Covers(q) && r.covers(other)
	case ours && others:
		return p.Covers(q)
	}
	return !others && r.covers(other)
}

// wild reports whether r ends in *.
func (r RID) wild() bool { return strings.HasSuffix(r.canonical, "*") }

// covers reports whether a grant on r is one on other, for resources that are not
// of the secret store: r is the same name, or ends in * and is a prefix of it.
// Only its own name covers [Superuser].
func (r RID) covers(other RID) bool {
	if r == other {
		return r.canonical != ""
	}
	prefix, wild := strings.CutSuffix(r.canonical, "*")
	return wild && other != Superuser && strings.HasPrefix(other.canonical, prefix)
}
