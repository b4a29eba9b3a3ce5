package clientcert

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"secretstore/acl"
)

// ErrName is returned for a certificate without exactly one name that is a user
// id; see [Rule].
var ErrName = errors.New("the client certificate does not have exactly one name that is a user id")

// ErrRule is returned for a text that is not a [Rule].
var ErrRule = errors.New("is not a rule for user ids; write uri:PREFIX, where PREFIX ends with / or :, or dns:SUFFIX, where SUFFIX begins with a dot and has no upper case")

// Rule says which of the alternative names of a certificate is the user id: the
// URI that begins with a prefix, or the DNS name that ends with a suffix. The
// user id is the whole name. The zero Rule finds none.
type Rule struct {
	kind cryptobyteasn1.Tag
	text string
}

// The kinds of alternative names (RFC 5280, section 4.2.1.6).
var (
	kindDNS = cryptobyteasn1.Tag(2).ContextSpecific()
	kindURI = cryptobyteasn1.Tag(6).ContextSpecific()
)

var oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// ParseRule reads uri:PREFIX or dns:SUFFIX. They end, and begin, where a part of
// a name does, so that example.com does not match evil-example.com. ErrRule.
func ParseRule(s string) (Rule, error) {
	kind, text, _ := strings.Cut(s, ":")
	switch last := len(text) - 1; {
	case !acl.ValidUID(text):
	case kind == "uri" && last > 0 && (text[last] == '/' || text[last] == ':'):
		return Rule{kindURI, text}, nil
	case kind == "dns" && last > 0 && text[0] == '.' && isHost(text[1:]):
		return Rule{kindDNS, text}, nil
	}
	return Rule{}, ErrRule
}

// uid returns the user id in a certificate. ErrName.
func (r Rule) uid(cert *x509.Certificate) (string, error) {
	found := ""
	names, ok := alternativeNames(cert, r.kind)
	if !ok {
		return "", ErrName
	}
	for _, name := range names {
		if !r.matches(name) {
			continue
		}
		if found != "" {
			return "", ErrName
		}
		found = name
	}
	if r.text == "" || !r.accepts(found) {
		return "", ErrName
	}
	return found, nil
}

// matches reports whether a name is one of those of which a certificate may have
// one. The case of letters does not matter here: most programs treat names that
// differ in it as one.
func (r Rule) matches(name string) bool {
	if len(name) < len(r.text) {
		return false
	}
	part := name[:len(r.text)]
	if r.kind == kindDNS {
		part = name[len(name)-len(r.text):]
	}
	return strings.EqualFold(part, r.text)
}

// accepts reports whether a name that matches can be a user id, byte by byte.
func (r Rule) accepts(name string) bool {
	if !acl.ValidUID(name) {
		return false
	}
	if r.kind == kindDNS {
		rest, ok := strings.CutSuffix(name, r.text)
		return ok && isHost(rest)
	}
	rest, ok := strings.CutPrefix(name, r.text)
	return ok && rest != ""
}

// isHost reports whether s consists of parts of a DNS name in lower case. A
// wildcard does not: it names many hosts.
func isHost(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// alternativeNames returns the alternative names of one kind as they are in the
// certificate. crypto/x509 parses URIs, and what it would write may differ from
// what the authority has signed.
func alternativeNames(cert *x509.Certificate, kind cryptobyteasn1.Tag) (names []string, ok bool) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidAlternativeNames) {
			continue
		}
		var all cryptobyte.String
		in := cryptobyte.String(ext.Value)
		if !in.ReadASN1(&all, cryptobyteasn1.SEQUENCE) || !in.Empty() {
			return nil, false
		}
		for !all.Empty() {
			var name cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !all.ReadAnyASN1(&name, &tag) {
				return nil, false
			}
			if tag == kind {
				names = append(names, string(name))
			}
		}
	}
	return names, true
}
