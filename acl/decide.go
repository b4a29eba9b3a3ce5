package acl

// Op is what a request wants. The zero value is refused.
type Op uint8

// The operations of the API. ViewStore is open to every valid token that is not bound to a service; Administer needs dcos:superuser;
// MintTaskToken makes a token for the tasks of a service, and needs the permission to fetch secrets on its behalf.
const (
	ReadSecret Op = iota + 1
	CreateSecret
	UpdateSecret
	DeleteSecret
	ListSecrets
	ViewStore
	Administer
	MintTaskToken
)

// Request is one question to the policy. The zero value is refused.
type Request struct {
	Op Op
	// Path is the secret, or the folder of ListSecrets; unused by ViewStore and Administer.
	Path Path
	// Service is on whose behalf a secret is read, or whose tasks MintTaskToken is for; it counts only if HasService. MintTaskToken needs it,
	// and any operation but these two is refused with it.
	Service    Service
	HasService bool
}

// Decision is the answer of [Policy.Decide]. The zero value denies.
type Decision struct {
	Allowed bool
	// Resource and Action are what was asked for, in canonical form: for the audit log, and for telling the caller which permission is
	// missing. Empty where no resource is concerned.
	Resource string
	Action   string
	// Reason is one of a few fixed sentences, or "secret is not accessible from service /x". It depends on the token, the policy and the
	// request alone, never on whether a secret exists.
	Reason string
}

// The reasons of decisions.
const (
	ReasonSuperuser    = "superuser"
	ReasonGranted      = "granted"
	ReasonOnBehalf     = "granted on behalf of the service"
	ReasonOwnSpace     = "in the space of the token's service"
	ReasonAnyToken     = "any valid token"
	ReasonNobody       = "no identity"
	ReasonNoPolicy     = "no policy"
	ReasonNoPermission = "permission denied"
	ReasonBound        = "a token that is bound to a service may only read secrets"
	ReasonBadRequest   = "not a request that can be allowed"
)

// notAccessible is the text that Marathon's and the agents' users know.
const notAccessible = "secret is not accessible from service "

const boundElsewhere = ": the token is bound to another service"

// Undecided denies without a reason, for a request that is refused before anybody's permissions are looked at: it only says what was
// asked for.
func Undecided(req Request) Decision {
	res, action := req.needs()
	return Decision{Resource: res.String(), Action: action.String()}
}

// Decide says whether who may do req. It denies by default.
func (p *Policy) Decide(who Principal, req Request) Decision {
	res, action := req.needs()
	d := Undecided(req)
	if p == nil || !p.live {
		return d.deny(ReasonNoPolicy)
	}
	if who.UID == "" {
		return d.deny(ReasonNobody)
	}
	if svc, bound := who.Service.Get(); bound {
		return decideBound(d, svc, req)
	}
	if !req.valid() {
		return d.deny(ReasonBadRequest)
	}
	if req.Op == ReadSecret && req.HasService && !req.Service.MayRead(req.Path) {
		return d.deny(notAccessible + req.Service.String())
	}
	r, known := p.users[who.UID]
	switch {
	case req.Op == ViewStore:
		return d.allow(ReasonAnyToken)
	case !known:
		return d.deny(ReasonNoPermission)
	case r.isSuperuser():
		return d.allow(ReasonSuperuser)
	case req.Op == ListSecrets:
		if r.allowsList(req.Path) {
			return d.allow(ReasonGranted)
		}
	case req.Op == Administer:
	case r.allows(res, action):
		return d.allow(ReasonGranted)
	case req.HasService && r.allows(ResolveResource(req.Service), Read):
		return d.allow(ReasonOnBehalf)
	}
	return d.deny(ReasonNoPermission)
}

// decideBound is the whole law for tokens that are bound to a service: they read the secrets of its spaces and do nothing else, whatever
// the grants of their uid, superuser included.
func decideBound(d Decision, svc Service, req Request) Decision {
	switch {
	case req.Op != ReadSecret:
		return d.deny(ReasonBound)
	case req.HasService && req.Service != svc:
		return d.deny(notAccessible + req.Service.String() + boundElsewhere)
	case !svc.MayRead(req.Path):
		return d.deny(notAccessible + svc.String())
	}
	return d.allow(ReasonOwnSpace)
}

// valid reports whether the parts of the request fit together.
func (r Request) valid() bool {
	switch r.Op {
	case ReadSecret:
		return !r.Path.IsRoot()
	case CreateSecret, UpdateSecret, DeleteSecret:
		return !r.Path.IsRoot() && !r.HasService
	case ListSecrets, ViewStore, Administer:
		return !r.HasService
	case MintTaskToken:
		return r.HasService
	}
	return false
}

// needs returns the resource and the action that the request is about.
func (r Request) needs() (Resource, Action) {
	switch r.Op {
	case ReadSecret:
		return SecretResource(r.Path), Read
	case CreateSecret:
		return SecretResource(r.Path), Create
	case UpdateSecret:
		return SecretResource(r.Path), Update
	case DeleteSecret:
		return SecretResource(r.Path), Delete
	case ListSecrets:
		return ListResource(r.Path), Read
	case Administer:
		return SuperuserResource(), Full
	case MintTaskToken:
		return ResolveResource(r.Service), Read
	}
	return Resource{}, 0
}

func (r rights) isSuperuser() bool {
	if r.superuser {
		return true
	}
	for _, g := range r.sets {
		if g.superuser {
			return true
		}
	}
	return false
}

func (d Decision) allow(reason string) Decision {
	d.Allowed, d.Reason = true, reason
	return d
}

func (d Decision) deny(reason string) Decision {
	d.Allowed, d.Reason = false, reason
	return d
}
