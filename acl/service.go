package acl

import (
	"errors"
	"strings"
)

// ErrInvalidService is returned for a string that is not a service id (400 in a
// request, 401 in a token).
var ErrInvalidService = errors.New("invalid service id")

// Service is the id of a Marathon app or pod, or of a Metronome job. It is
// comparable; the zero value is the root service "/", which reads only secrets
// without a folder.
type Service struct {
	s string // canonical: as in Path, "" for the root
}

// ParseService reads a service id. With a slash in it, slashes alone separate
// components (Marathon ids may hold dots); without any, dots do (Metronome
// ids). Without a leading slash it counts from the root. "" and "/" are the
// root service. Components and limits are those of a path, so an id never
// contains *, : or %, which have a meaning in a resource id. `.`, `..` and
// empty components are refused, and so are /a//b and /a/.
func ParseService(id string) (Service, error) {
	if len(id) > 1+MaxPathBytes {
		return Service{}, ErrInvalidService
	}
	s := id
	if strings.Contains(s, "/") {
		s = strings.TrimPrefix(s, "/")
	} else {
		s = strings.ReplaceAll(s, ".", "/")
	}
	if s == "" {
		return Service{}, nil
	}
	if !isCanonical(s) {
		return Service{}, ErrInvalidService
	}
	return Service{s}, nil
}

// String returns the id with its leading slash: "/group/app", and "/" for the
// root service.
func (s Service) String() string { return "/" + s.s }

// IsRoot reports whether s is the root service.
func (s Service) IsRoot() bool { return s.s == "" }

// MayRead applies the rule of spaces: the folder of the secret p must be the
// root, s itself, or a parent of s, component by component, so that /group2 may
// not read group/x. It is false for the root, which is not a secret.
func (s Service) MayRead(p Path) bool {
	if p.IsRoot() {
		return false
	}
	space := p.Folder().s
	if space == "" || space == s.s {
		return true
	}
	return len(s.s) > len(space) && s.s[len(space)] == '/' && s.s[:len(space)] == space
}
