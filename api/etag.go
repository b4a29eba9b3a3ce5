package api

import (
	"net/http"
	"strings"

	"secretstore/seal"
)

// The entity tag of a secret is its value id in quotes: new for each write, also
// for one after a delete and a create, and kept by re-encryption. It is strong
// though a text has two forms (JSON and its raw bytes), for what it tells apart
// is values; nothing caches the answers, which are no-store.

const (
	textBadTags = `malformed If-Match or If-None-Match: send * or the ETag of an answer with its quotes, several separated by commas`
	textChanged = "the secret was changed since it was read: read it again, and repeat the request with its new ETag"
	textPutIf   = "PUT creates secrets that do not exist yet, so no If-Match can hold: replace the value of an existing one with PATCH"
)

func etagOf(id string) string { return `"` + id + `"` }

// conditions are what a request says about the secret as it is now. The zero
// value always holds.
type conditions struct {
	match, noneMatch tagList
}

func parseConditions(h http.Header) (c conditions, err error) {
	if c.match, err = parseTags(h["If-Match"]); err != nil {
		return conditions{}, err
	}
	c.noneMatch, err = parseTags(h["If-None-Match"])
	return c, err
}

// permit returns what a write has to ask for the value that it replaces, or nil
// where it need not ask.
func (c *conditions) permit() seal.Match {
	if !c.match.given && !c.noneMatch.given {
		return nil
	}
	return func(id string) bool {
		return (!c.match.given || c.match.strong(id)) && (!c.noneMatch.given || !c.noneMatch.weak(id))
	}
}

// tagList is the value of If-Match or If-None-Match.
type tagList struct {
	given bool
	any   bool // "*"
	tags  []entityTag
}

type entityTag struct {
	opaque string // without the quotes
	weak   bool
}

// strong compares as If-Match does: a weak tag equals nothing.
func (l *tagList) strong(id string) bool {
	for _, t := range l.tags {
		if !t.weak && t.opaque == id {
			return true
		}
	}
	return l.any
}

// weak compares as If-None-Match does: W/ does not matter.
func (l *tagList) weak(id string) bool {
	for _, t := range l.tags {
		if t.opaque == id {
			return true
		}
	}
	return l.any
}

// parseTags reads all lines of an If-Match or If-None-Match header (RFC 9110,
// sections 8.8.3, 13.1.1 and 13.1.2). A malformed one is refused rather than
// ignored: the write that it should have held back would happen.
func parseTags(lines []string) (tagList, error) {
	if len(lines) == 0 {
		return tagList{}, nil
	}
	l := tagList{given: true}
	rest := strings.Trim(strings.Join(lines, ","), " \t")
	if rest == "*" {
		l.any = true
		return l, nil
	}
	for rest != "" {
		if rest[0] == ',' { // lists may have empty elements
			rest = strings.TrimLeft(rest[1:], " \t")
			continue
		}
		tag, after, ok := cutTag(rest)
		if !ok {
			return tagList{}, badRequest(textBadTags)
		}
		l.tags = append(l.tags, tag)
		rest = strings.TrimLeft(after, " \t")
		if rest != "" && rest[0] != ',' {
			return tagList{}, badRequest(textBadTags)
		}
	}
	if len(l.tags) == 0 {
		return tagList{}, badRequest(textBadTags)
	}
	return l, nil
}

// cutTag reads one entity tag from the front of s. Inside its quotes a comma is
// a character like any other, and nothing is escaped.
func cutTag(s string) (t entityTag, rest string, ok bool) {
	s, t.weak = strings.CutPrefix(s, "W/")
	s, ok = strings.CutPrefix(s, `"`)
	if !ok {
		return entityTag{}, "", false
	}
	if t.opaque, rest, ok = strings.Cut(s, `"`); !ok {
		return entityTag{}, "", false
	}
	for i := range len(t.opaque) {
		if b := t.opaque[i]; b <= ' ' || b == 0x7f {
			return entityTag{}, "", false
		}
	}
	return t, rest, true
}
