package acl

import "errors"

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
		for _, h := range r.here {
			e.because(h.Grants, w, func() Origin { return h.member })
		}
		for _, g := range r.other {
			e.because(g, w, func() Origin { return p.other.MemberSince(who.UID, g.holder.Group) })
		}
		// Nobody should become superuser for the sake of one secret.
		if !e.Allowed && (w.reason != ReasonSuperuser || req.Op == Administer) {
			e.Missing = append(e.Missing, Permission{w.res, w.action})
		}
	}
	return e
}

// because adds those of the grants g that satisfy w.
func (e *Explanation) because(g *Grants, w way, member func() Origin) {
	if !g.allows(w) {
		return
	}
	for i := range g.list {
		if !g.list[i].satisfies(w) {
			continue
		}
		b := Because{Holder: g.holder, Grant: g.list[i]}
		if g.holder.Group != "" {
			b.Member = member()
		}
		e.Grants = append(e.Grants, b)
	}
}
