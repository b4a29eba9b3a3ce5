package authority

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"secretstore/iam"
	"secretstore/iam/password"
)

// maxSuperusers bounds the lines of the file.
const maxSuperusers = 1000

// Superusers are those that a file names, with the hashes of their passwords. The
// zero value has none.
type Superusers struct {
	hashes map[iam.UID]password.Hash
}

// ParseSuperusers reads the lines UID:HASH. Empty lines and those that begin with #
// do not count. The error names every line that is wrong, and repeats none.
func ParseSuperusers(content []byte) (Superusers, error) {
	s := Superusers{hashes: make(map[iam.UID]password.Hash)}
	var errs []error
	bad := func(line int, why string) { errs = append(errs, fmt.Errorf("line %d: %s", line, why)) }
	n := 0
	for line := range bytes.SplitSeq(content, []byte{'\n'}) {
		n++
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, text, ok := bytes.Cut(line, []byte{':'})
		uid, err := iam.ParseUID(string(name))
		hash, hashErr := password.Parse(string(text))
		switch {
		case !ok:
			bad(n, "it is not UID:HASH")
		case err != nil:
			bad(n, "the name before the colon is not a user ID: letters, digits and -_@. only")
		case hashErr != nil:
			bad(n, hashErr.Error()+"; make one with: secretstore hash-password")
		case s.hashes[uid] != password.Hash{}:
			bad(n, "an earlier line names the same user")
		default:
			s.hashes[uid] = hash
		}
		if len(s.hashes) > maxSuperusers || len(errs) > maxSuperusers {
			return Superusers{}, fmt.Errorf("the file has more than %d lines", maxSuperusers)
		}
	}
	if len(errs) > 0 {
		return Superusers{}, errors.Join(errs...)
	}
	return s, nil
}

// Len returns how many there are.
func (s Superusers) Len() int { return len(s.hashes) }

// identities are those of all.
func (s Superusers) identities() []iam.Identity {
	var all []iam.Identity
	for uid, h := range s.hashes {
		all = append(all, iam.FileIdentity(uid, h.String()))
	}
	return all
}

// SetSuperusers replaces the superusers of the file.
func (a *Authority) SetSuperusers(s Superusers) {
	a.update(func(now *state) bool {
		if maps.Equal(now.file.hashes, s.hashes) {
			return false
		}
		now.file = s
		now.era++
		now.sealed = (&iam.Directory{}).WithBootstrap(s.identities()...)
		now.directory = now.directory.WithBootstrap(s.identities()...)
		return true
	})
}
