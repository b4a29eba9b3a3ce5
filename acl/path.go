package acl

import (
	"errors"
	"strings"
)

// ErrInvalidPath is returned for anything that is not a secret path or folder.
// The text is the one that clients see (404).
var ErrInvalidPath = errors.New("invalid secret path")

// Limits of a path, after decoding and normalizing.
const (
	MaxComponentBytes = 255
	MaxComponents     = 32
	MaxPathBytes      = 1024
)

// Path names a secret or a folder. Paths are comparable with ==, and two
// spellings of one path give equal values. The zero value is the root, which is
// a folder only: no secret has that path.
//
// Only [ParsePath] and [ParseFolder] make one, so a Path holds nothing but
// components of [A-Za-z0-9._-]. It never contains *, : or %, which have a
// meaning in a resource id.
type Path struct {
	s string // canonical: components joined by single slashes, none at the ends
}

// ParsePath reads what follows the store's name in the escaped path of a URL.
// Percent escapes are decoded exactly once, runs of slashes count as one,
// slashes at the ends are dropped. It returns [ErrInvalidPath] for the root and
// for everything outside the limits and the alphabet. It never repairs a name:
// two names must not lead to the same secret.
func ParsePath(escaped string) (Path, error) {
	p, err := ParseFolder(escaped)
	if err != nil {
		return Path{}, err
	}
	if p.IsRoot() {
		return Path{}, ErrInvalidPath
	}
	return p, nil
}

// ParseFolder is [ParsePath] for a list: it allows the root.
func ParseFolder(escaped string) (Path, error) {
	plain, ok := unescape(escaped)
	if !ok {
		return Path{}, ErrInvalidPath
	}
	if isCanonical(plain) {
		return Path{plain}, nil
	}
	s := collapse(plain)
	if s != "" && !isCanonical(s) {
		return Path{}, ErrInvalidPath
	}
	return Path{s}, nil
}

// String returns the canonical form "a/b/c" without a leading slash, and "" for
// the root.
func (p Path) String() string { return p.s }

// IsRoot reports whether p is the root.
func (p Path) IsRoot() bool { return p.s == "" }

// Folder returns p without its last component; the folder of a path of one
// component, and of the root, is the root.
func (p Path) Folder() Path {
	return Path{p.s[:max(0, strings.LastIndexByte(p.s, '/'))]}
}

// Name returns the last component, and "" for the root.
func (p Path) Name() string {
	return p.s[strings.LastIndexByte(p.s, '/')+1:]
}

// below reports whether p is a secret in folder or deeper, component by
// component.
func (p Path) below(folder Path) bool {
	if folder.IsRoot() {
		return !p.IsRoot()
	}
	return len(p.s) > len(folder.s) && p.s[len(folder.s)] == '/' && p.s[:len(folder.s)] == folder.s
}

// unescape decodes percent escapes once. Decoding twice would make %252F a
// separator that a proxy which checks paths does not see.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, ok1 := unhex(s[i+1])
		lo, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return "", false
		}
		b.WriteByte(hi<<4 | lo)
		i += 2
	}
	return b.String(), true
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// collapse drops empty components.
func collapse(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for c := range strings.SplitSeq(s, "/") {
		if c == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(c)
	}
	return b.String()
}

// isCanonical reports whether s is at least one valid component, joined by
// single slashes, within the limits.
func isCanonical(s string) bool {
	if len(s) == 0 || len(s) > MaxPathBytes {
		return false
	}
	n := 0
	for {
		c, rest, more := strings.Cut(s, "/")
		n++
		if n > MaxComponents || !validComponent(c) {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

func validComponent(c string) bool {
	if len(c) == 0 || len(c) > MaxComponentBytes || c == "." || c == ".." {
		return false
	}
	for i := 0; i < len(c); i++ {
		if !validByte(c[i]) {
			return false
		}
	}
	return true
}

func validByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		return true
	}
	return false
}
