package acl

import (
	"errors"
	"iter"
)

// ErrUnknownQuestion is returned by [ParseQuestion].
var ErrUnknownQuestion = errors.New("unknown action: use create, read, update, delete, list, watch, resolve or administer")

// Errors of [ParseQuestion] about what belongs to an action.
var (
	ErrQuestionNeedsService = errors.New("resolve needs the service whose secrets are fetched")
	ErrQuestionHasPath      = errors.New("resolve and administer are not about a path")
	ErrQuestionHasService   = errors.New("only read, watch and resolve are done for a service")
)

// questions are the operations that people ask about.
var questions = map[string]Op{
	"create": CreateSecret, "read": ReadSecret, "update": UpdateSecret, "delete": DeleteSecret,
	"list": ListSecrets, "watch": WatchNames, "resolve": ResolveSecrets, "administer": Administer,
}

// QuestionActions returns the actions that [ParseQuestion] knows.
func QuestionActions() []string {
	return []string{"create", "read", "update", "delete", "list", "watch", "resolve", "administer"}
}

// ParseQuestion returns the request that somebody asks about. The path is not
// escaped; it is that of a secret, for list and watch of a folder, and empty for
// other actions. A service that counts only if hasService.
func ParseQuestion(action, path string, service Service, hasService bool) (Request, error) {
	op, ok := questions[action]
	if !ok {
		return Request{}, ErrUnknownQuestion
	}
	req := Request{Op: op, Service: service, HasService: hasService}
	var err error
	switch op {
	case ListSecrets, WatchNames:
		req.Path, err = parsePlain(path)
	case ResolveSecrets, Administer:
		if path != "" {
			err = ErrQuestionHasPath
		}
	default:
		if req.Path, err = parsePlain(path); err == nil && req.Path.IsRoot() {
			err = ErrInvalidPath
		}
	}
	switch {
	case err != nil:
		return Request{}, err
	case op == ResolveSecrets && !hasService:
		return Request{}, ErrQuestionNeedsService
	case !req.valid():
		return Request{}, ErrQuestionHasService
	}
	return req, nil
}

// parsePlain is ParseFolder for a path that is not escaped: no name has a %.
func parsePlain(path string) (Path, error) {
	for i := range len(path) {
		if path[i] == '%' {
			return Path{}, ErrInvalidPath
		}
	}
	return ParseFolder(path)
}

// Explanation says why a request is allowed, or why not.
type Explanation struct {
	Decision
	// Grants are all that allow it, each by itself. There are none if a rule
	// decides that no grant changes.
	Grants []Because
	// Missing are permissions, of which any one would allow it; none if it is
	// allowed, or if no permission would.
	Missing []Permission
	// Near are grants that nearly allow it, the nearest first, at most five: on the
	// same resource for another action, or on others that begin with the same folder.
	// There are none if Missing is empty.
	Near []Because
}

// Because is a grant that allows something.
type Because struct {
	Holder Holder
	Grant  Grant
	Member Origin // of the membership, if a group has the grant
}

// Permission is an action on a resource.
type Permission struct {
	Resource Resource
	Action   Action
}

// Explain explains what [Policy.Decide] decides about req.
func (p *Policy) Explain(who Principal, req Request) Explanation {
	e := Explanation{Decision: p.Decide(who, req)}
	if _, final := p.rules(who, req); final {
		return e
	}
	r := p.rights(who.UID)
	for _, w := range req.ways() {
		if w == (way{}) {
			continue
		}
		for b := range p.grantsOf(who.UID, r) {
			if b.Grant.satisfies(w) {
				e.Grants = append(e.Grants, b)
			}
		}
		// Nobody should become superuser for the sake of one secret.
		if !e.Allowed && (w.reason != ReasonSuperuser || req.Op == Administer) {
			e.Missing = append(e.Missing, Permission{w.res, w.action})
		}
	}
	if len(e.Missing) > 0 {
		e.Near = nearest(e.Missing, p.grantsOf(who.UID, r))
	}
	return e
}

// grantsOf yields the grants of a user and of its groups.
func (p *Policy) grantsOf(uid string, r rights) iter.Seq[Because] {
	return func(yield func(Because) bool) {
		each := func(g *Grants, member func() Origin) bool {
			if g == nil {
				return true
			}
			var since Origin
			if g.holder.Group != "" {
				since = member()
			}
			for _, grant := range g.list {
				if !yield(Because{Holder: g.holder, Grant: grant, Member: since}) {
					return false
				}
			}
			return true
		}
		for _, h := range r.here {
			if !each(h.Grants, func() Origin { return h.member }) {
				return
			}
		}
		for _, g := range r.other {
			if !each(g, func() Origin { return p.other.MemberSince(uid, g.holder.Group) }) {
				return
			}
		}
	}
}
