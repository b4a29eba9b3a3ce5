package acl

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidResource is wrapped by the errors of [ParsePattern].
var ErrInvalidResource = errors.New("invalid resource id")

const (
	superuserID = "dcos:superuser"
	// metadataID is what the Admin Router of DC/OS asks for before it shows the
	// files below /dcos-metadata.
	metadataID = "dcos:adminrouter:ops:metadata"
	// policyQueryID is for services that ask the IAM what users may do.
	policyQueryID = "dcos:iam:policyquery"
	// backupID is for those who make backups of the whole store.
	backupID = "dcos:secrets:backup:default"
)

// kind is the class of a resource. The zero kind names nothing and is matched
// by nothing.
type kind uint8

const (
	kindSecret kind = iota + 1
	kindList
	kindResolve
	kindSuperuser
	kindMetadata
	kindPolicyQuery
	kindBackup

	lastKind = kindBackup
)

// kindPrefix precedes the path of a resource, up to the last colon.
var kindPrefix = [...]string{
	kindSecret:  "dcos:secrets:default:",
	kindList:    "dcos:secrets:list:default:",
	kindResolve: "dcos:secrets:resolve:default:",
}

// Resource is a thing that a grant can name. It is comparable; the zero value
// names nothing.
type Resource struct {
	kind kind
	rest string // canonical path or service id without its leading slash
}

// SecretResource is the resource of a secret: dcos:secrets:default:/a/b. The
// root is not a secret; it gives the zero Resource.
func SecretResource(p Path) Resource {
	if p.IsRoot() {
		return Resource{}
	}
	return Resource{kindSecret, p.s}
}

// ListResource is the resource of the list of a folder:
// dcos:secrets:list:default:/a.
func ListResource(p Path) Resource { return Resource{kindList, p.s} }

// ResolveResource is the resource of reading on behalf of a service:
// dcos:secrets:resolve:default:/group/app.
func ResolveResource(s Service) Resource { return Resource{kindResolve, s.s} }

// SuperuserResource is dcos:superuser.
func SuperuserResource() Resource { return Resource{kind: kindSuperuser} }

// MetadataResource is dcos:adminrouter:ops:metadata.
func MetadataResource() Resource { return Resource{kind: kindMetadata} }

// PolicyQueryResource is dcos:iam:policyquery.
func PolicyQueryResource() Resource { return Resource{kind: kindPolicyQuery} }

// BackupResource is dcos:secrets:backup:default.
func BackupResource() Resource { return Resource{kind: kindBackup} }

// String returns the canonical id, with the slash after the last colon, and ""
// for the zero Resource.
func (r Resource) String() string {
	switch r.kind {
	case kindSuperuser:
		return superuserID
	case kindMetadata:
		return metadataID
	case kindPolicyQuery:
		return policyQueryID
	case kindBackup:
		return backupID
	case kindSecret, kindList, kindResolve:
		return kindPrefix[r.kind] + "/" + r.rest
	}
	return ""
}

// Pattern is the resource part of a grant: one resource or, with a trailing *,
// all whose id starts with the rest. It is comparable; the zero value matches
// nothing.
type Pattern struct {
	kinds kindSet
	rest  string // the exact rest, or the prefix of it
	wild  bool
}

// kindSet is a set of kinds, one bit each. More than one only in a wildcard
// that ends before the last colon, as dcos:secrets:*.
type kindSet uint8

func (s kindSet) has(k kind) bool { return k != 0 && s&(1<<k) != 0 }

// ParsePattern reads the resource id of a grant in any of the forms in use:
// with or without the slash after the last colon, with / written as itself, %2F
// or %252F, and with at most one *, at the end. The rest must be a possible
// path or service id, so that a grant that would silently match nothing is an
// error. Errors wrap [ErrInvalidResource].
//
// dcos:superuser, dcos:adminrouter:ops:metadata, dcos:iam:policyquery and
// dcos:secrets:backup:default are granted by exactly these names, and by no
// wildcard.
func ParsePattern(id string) (Pattern, error) {
	if len(id) > maxPatternBytes {
		return Pattern{}, badPattern("is too long")
	}
	switch id {
	case superuserID:
		return Pattern{kinds: 1 << kindSuperuser}, nil
	case metadataID:
		return Pattern{kinds: 1 << kindMetadata}, nil
	case policyQueryID:
		return Pattern{kinds: 1 << kindPolicyQuery}, nil
	case backupID:
		return Pattern{kinds: 1 << kindBackup}, nil
	}
	s := slashes.Replace(id)
	s, wild := strings.CutSuffix(s, "*")
	if strings.Contains(s, "*") {
		return Pattern{}, badPattern("has a * that is not the last character")
	}
	for k := kindSecret; k <= kindResolve; k++ {
		if rest, ok := strings.CutPrefix(s, kindPrefix[k]); ok {
			return parseRest(k, strings.TrimPrefix(rest, "/"), wild)
		}
	}
	if wild {
		return parseBroad(s)
	}
	return Pattern{}, badPattern(knownResources)
}

// maxPatternBytes bounds a pattern before it is parsed: the longest prefix, and
// a path with each byte written as %252F.
const maxPatternBytes = 64 + 5*MaxPathBytes

const knownResources = "is none of dcos:secrets:default:/PATH, dcos:secrets:list:default:/PATH, " +
	"dcos:secrets:resolve:default:/SERVICE, dcos:superuser, " + metadataID + ", " + policyQueryID + ", " + backupID

// slashes holds the spellings of / in resource ids: IAM clients write it
// percent-encoded, once or twice.
var slashes = strings.NewReplacer("%252F", "/", "%252f", "/", "%2F", "/", "%2f", "/")

func badPattern(why string) error { return fmt.Errorf("%w: it %s", ErrInvalidResource, why) }

func parseRest(k kind, rest string, wild bool) (Pattern, error) {
	p := Pattern{kinds: 1 << k, rest: rest, wild: wild}
	switch {
	case wild && !validPrefix(rest):
		return Pattern{}, badPattern("names no possible path before the *")
	case wild:
		return p, nil
	case rest == "" && k == kindSecret:
		return Pattern{}, badPattern("names no secret: write dcos:secrets:default:/* for all")
	case rest == "":
		return p, nil
	case strings.HasSuffix(rest, "/"):
		return Pattern{}, badPattern("ends in a slash: drop it, or write /* for everything below")
	case !isCanonical(rest):
		return Pattern{}, badPattern("does not end in a possible path")
	}
	return p, nil
}

// parseBroad reads a wildcard that ends at or before the last colon, such as
// dcos:secrets:*, which covers whole kinds.
func parseBroad(s string) (Pattern, error) {
	p := Pattern{wild: true}
	for k := kindSecret; k <= kindResolve; k++ {
		if strings.HasPrefix(kindPrefix[k], s) {
			p.kinds |= 1 << k
		}
	}
	if p.kinds == 0 {
		if strings.HasPrefix(s, "dcos:super") {
			return Pattern{}, badPattern("has a wildcard: dcos:superuser is granted by exactly that name")
		}
		return Pattern{}, badPattern(knownResources)
	}
	return p, nil
}

// validPrefix reports whether some valid path starts with s.
func validPrefix(s string) bool {
	if s == "" || isCanonical(s) {
		return true
	}
	if len(s) >= MaxPathBytes {
		return false
	}
	// "a/" and "a/." are not paths, but one more letter makes them one.
	return isCanonical(s + "x")
}

// Matches reports whether the pattern covers r. There is no inheritance: a
// pattern without * covers one resource.
func (p Pattern) Matches(r Resource) bool {
	if !p.kinds.has(r.kind) {
		return false
	}
	if p.wild {
		return strings.HasPrefix(r.rest, p.rest)
	}
	return r.rest == p.rest
}

// Covers reports whether a grant on p allows all that the same grant on q does. A
// list also covers the folders below it.
func (p Pattern) Covers(q Pattern) bool {
	if q.kinds == 0 || q.kinds&^p.kinds != 0 {
		return false
	}
	switch below, isBelow := strings.CutPrefix(q.rest, p.rest); {
	case p == q:
		return true
	case p.wild:
		return isBelow
	case p.kinds != 1<<kindList || !isBelow:
		return false
	default: // below is "" if q ends in a * right after p
		return p.rest == "" || strings.HasPrefix(below, "/")
	}
}

// resource returns the resource that the pattern names, if that is a single one.
func (p Pattern) resource() (Resource, bool) {
	for k := kindSecret; k <= lastKind; k++ {
		if p.kinds == 1<<k && !p.wild {
			return Resource{k, p.rest}, true
		}
	}
	return Resource{}, false
}

// String returns the canonical form; a pattern that covers several kinds gives
// the longest prefix that they share.
func (p Pattern) String() string {
	star := ""
	if p.wild {
		star = "*"
	}
	var s string
	for k := kindSecret; k <= lastKind; k++ {
		if !p.kinds.has(k) {
			continue
		}
		if p.kinds != 1<<k {
			return "dcos:secrets:*"
		}
		s = Resource{k, p.rest}.String() + star
	}
	return s
}
