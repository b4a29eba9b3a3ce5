package acl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxPolicyBytes is the size of the largest policy file.
const MaxPolicyBytes = 1 << 20

// ErrInvalidPolicy is matched by every error of [ParsePolicy], which are of
// type [*PolicyError].
var ErrInvalidPolicy = errors.New("invalid policy")

// PolicyError lists everything that is wrong with a policy file.
type PolicyError struct {
	Problems []PolicyProblem // in the order of the file
}

// PolicyProblem is one mistake and where it is.
type PolicyProblem struct {
	Line int // 1 is the first; 0 where the mistake has no line
	Text string
}

// maxShownProblems bounds the text of an error.
const maxShownProblems = 50

// Error returns one line for each problem.
func (e *PolicyError) Error() string {
	var b strings.Builder
	b.WriteString(ErrInvalidPolicy.Error())
	for i, p := range e.Problems {
		if i == maxShownProblems {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Problems)-i)
			break
		}
		if p.Line > 0 {
			fmt.Fprintf(&b, "\n  line %d: %s", p.Line, p.Text)
		} else {
			fmt.Fprintf(&b, "\n  %s", p.Text)
		}
	}
	return b.String()
}

// Is makes errors.Is(err, ErrInvalidPolicy) true.
func (e *PolicyError) Is(target error) bool { return target == ErrInvalidPolicy }

// ParsePolicy reads a policy file: a mapping with the optional keys users (uid
// to grants) and groups (name to members and grants), where grants map a
// resource id, see [ParsePattern], to a list of actions. Nothing is guessed: an
// unknown or repeated key, an unknown action, an impossible resource, an anchor
// or alias, a second or no document is an error. All problems are returned at
// once, as a [*PolicyError].
func ParsePolicy(data []byte) (*Policy, error) {
	f := &policyFile{policy: &Policy{live: true, users: make(map[string][]held)}}
	if root := f.document(data); root != nil && !f.aliases(root) {
		f.fields(root, "a policy", map[string]func(*yaml.Node){"users": f.readUsers, "groups": f.readGroups})
	}
	if len(f.problems) > 0 {
		slices.SortStableFunc(f.problems, func(a, b PolicyProblem) int { return a.Line - b.Line })
		return nil, &PolicyError{f.problems}
	}
	return f.policy, nil
}

// policyFile is the state of one parse.
type policyFile struct {
	policy   *Policy
	problems []PolicyProblem
}

func (f *policyFile) problem(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	f.problems = append(f.problems, PolicyProblem{line, fmt.Sprintf(format, args...)})
}

// document returns the root mapping of the only document, or nil after
// reporting why there is none.
func (f *policyFile) document(data []byte) *yaml.Node {
	if len(data) > MaxPolicyBytes {
		f.problem(nil, "larger than %d bytes", MaxPolicyBytes)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	// An empty file is more likely an unfinished write than the intent to
	// revoke everything.
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		f.problem(nil, "empty: write users: {} to grant nothing")
		return nil
	} else if err != nil {
		f.problem(nil, "%s", shorten(strings.TrimPrefix(err.Error(), "yaml: ")))
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		f.problem(nil, "more than one YAML document")
	}
	if len(doc.Content) != 1 {
		f.problem(nil, "no YAML document")
		return nil
	}
	return doc.Content[0]
}

// aliases reports the aliases below n, and whether there are any. They are
// refused, so that no file expands to more than it holds.
func (f *policyFile) aliases(n *yaml.Node) (found bool) {
	if n.Kind == yaml.AliasNode {
		f.problem(n, "YAML aliases (*%s) are not read: write out what it stands for", shorten(n.Value))
		return true
	}
	for _, child := range n.Content {
		found = f.aliases(child) || found
	}
	return found
}

// mapping calls each for the entries of n, after it has checked that the keys
// are scalars, each given once.
func (f *policyFile) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		f.problem(n, "%s must be a mapping", what)
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !isScalar(key) {
			f.problem(key, "a key of %s must be a plain string", what)
			continue
		}
		if line, dup := seen[key.Value]; dup {
			f.problem(key, "%q is already on line %d", shorten(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// fields is mapping for the fixed keys of the format.
func (f *policyFile) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node)) {
	f.mapping(n, what, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			f.problem(key, "unknown key %q in %s", shorten(key.Value), what)
			return
		}
		read(value)
	})
}

func (f *policyFile) readUsers(n *yaml.Node) {
	f.mapping(n, "users", func(key, value *yaml.Node) {
		grants := f.readGrants(value) // read in any case, to report all problems
		if f.validID(key, "user id") {
			f.give(key.Value, held{Grants: NewGrants(Holder{Source: PolicyFile}, grants...)})
		}
	})
}

func (f *policyFile) readGroups(n *yaml.Node) {
	f.mapping(n, "groups", func(key, value *yaml.Node) {
		f.validID(key, "group name")
		var members []*yaml.Node
		var grants []Grant
		f.fields(value, "a group", map[string]func(*yaml.Node){
			"members": func(n *yaml.Node) { members = f.readMembers(n) },
			"grants":  func(n *yaml.Node) { grants = f.readGrants(n) },
		})
		g := NewGrants(Holder{Source: PolicyFile, Group: key.Value}, grants...)
		f.policy.groups = append(f.policy.groups, g)
		for _, uid := range members {
			f.give(uid.Value, held{g, Origin{Line: uid.Line}})
		}
	})
}

func (f *policyFile) readMembers(n *yaml.Node) []*yaml.Node {
	var members []*yaml.Node
	f.strings(n, "members", func(item *yaml.Node) {
		if f.validID(item, "user id") {
			members = append(members, item)
		}
	})
	return members
}

func (f *policyFile) readGrants(n *yaml.Node) []Grant {
	var all []Grant
	f.mapping(n, "grants", func(key, value *yaml.Node) {
		pattern, err := ParsePattern(key.Value)
		if err != nil {
			f.problem(key, "%q: %s", shorten(key.Value), err)
		}
		for _, a := range f.readActions(value) {
			all = append(all, Grant{ID: key.Value, Pattern: pattern, Action: a, Origin: Origin{Line: key.Line}})
		}
	})
	return all
}

func (f *policyFile) readActions(n *yaml.Node) []Action {
	var all []Action
	f.strings(n, "actions", func(item *yaml.Node) {
		a, err := ParseAction(item.Value)
		if err != nil {
			f.problem(item, "%q: %s", shorten(item.Value), err)
			return
		}
		all = append(all, a)
	})
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		f.problem(n, "a grant needs at least one action")
	}
	return all
}

// strings calls each for the items of a list of distinct strings.
func (f *policyFile) strings(n *yaml.Node, what string, each func(item *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		f.problem(n, "%s must be a list, as in [a, b]", what)
		return
	}
	seen := make(map[string]bool, len(n.Content))
	for _, item := range n.Content {
		switch {
		case !isScalar(item):
			f.problem(item, "%s must be plain strings", what)
		case seen[item.Value]:
			f.problem(item, "%q is listed twice", shorten(item.Value))
		default:
			seen[item.Value] = true
			each(item)
		}
	}
}

func (f *policyFile) validID(n *yaml.Node, what string) bool {
	if ValidUID(n.Value) {
		return true
	}
	f.problem(n, "%q is not a valid %s: 1 to %d printable ASCII characters, no space at the ends", shorten(n.Value), what, MaxUIDBytes)
	return false
}

func (f *policyFile) give(uid string, h held) {
	f.policy.users[uid] = append(f.policy.users[uid], h)
}

// isScalar accepts any plain value by its text, so that the uid 007 needs no
// quotes. It refuses null, binary and the merge key.
func isScalar(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return true
	}
	return false
}

// shorten bounds how much of the file an error repeats.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
