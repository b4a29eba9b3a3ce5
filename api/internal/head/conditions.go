package head

import (
	"net/http"
	"strings"

	"secretstore/api/internal/problem"
	"secretstore/seal"
)

const textBadTags = `malformed If-Match or If-None-Match: send * or the ETag of an answer with its quotes, several separated by commas`

// ETag returns the entity tag of a value id: the id in quotes. Each write makes
// a new id, also one after a delete and a create; re-encryption keeps it. The
// tag is strong although a text has two forms (JSON and its raw bytes), for it
// tells values apart; nothing caches the answers, which are no-store.
func ETag(id string) string { return `"` + id + `"` }

// Conditions are what a request demands of the secret as it is now. The zero
// value always holds.
type Conditions struct {
	match, noneMatch tagList
}

// ParseConditions reads If-Match and If-None-Match.
func ParseConditions(h http.Header) (c Conditions, err error) {
	if c.match, err = parseTags(h["If-Match"]); err != nil {
		return Conditions{}, err
	}
	c.noneMatch, err = parseTags(h["If-None-Match"])
	return c, err
}

// Changed reports whether the value is not the one that If-Match demands.
func (c *Conditions) Changed(id string) bool { return c.match.given && !c.match.strong(id) }

// Known reports whether the client has the value, as If-None-Match says.
func (c *Conditions) Known(id string) bool { return c.noneMatch.given && c.noneMatch.weak(id) }

// Match returns the condition of a write on the value that it replaces, or nil
// if there is none.
func (c *Conditions) Match() seal.Match {
	if !c.match.given && !c.noneMatch.given {
		return nil
	}
	return func(id string) bool { return !c.Changed(id) && !c.Known(id) }
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

// strong compares like If-Match: a weak tag equals nothing.
func (l *tagList) strong(id string) bool {
	for _, t := range l.tags {
		if !t.weak && t.opaque == id {
			return true
		}
	}
	return l.any
}

// weak compares like If-None-Match, which ignores W/.
func (l *tagList) weak(id string) bool {
	for _, t := range l.tags {
		if t.opaque == id {
			return true
		}
	}
	return l.any
}

// parseTags reads all lines of an If-Match or If-None-Match header (RFC 9110,
// sections 8.8.3, 13.1.1 and 13.1.2). It refuses a malformed one: ignoring it
// would let a write happen that it should have stopped.
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
			return tagList{}, problem.BadRequest(textBadTags)
		}
		l.tags = append(l.tags, tag)
		rest = strings.TrimLeft(after, " \t")
		if rest != "" && rest[0] != ',' {
			return tagList{}, problem.BadRequest(textBadTags)
		}
	}
	if len(l.tags) == 0 {
		return tagList{}, problem.BadRequest(textBadTags)
	}
	return l, nil
}

// cutTag reads one entity tag from the front of s. Inside the quotes a comma is
// an ordinary character, and nothing is escaped.
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
