package acl

// Op is an operation. The zero value is refused.
type Op uint8

// The operations of the API.
const (
	ReadSecret Op = iota + 1
	CreateSecret
	UpdateSecret
	DeleteSecret
	ListSecrets
	// ViewStore is open to every valid token that is not bound to a service.
	ViewStore
	// Administer needs dcos:superuser.
	Administer
	// MintTaskToken makes a token for the tasks of a service. It needs the
	// permission to fetch secrets on behalf of that service.
	MintTaskToken
	// ResolveSecrets fetches, or checks, all secrets that the tasks of a
	// service need. With a service it asks for the permission to do so for that
	// service. Without one it asks whether the principal has any permission, so
	// that reading the body is worthwhile.
	ResolveSecrets
	// ReadVersions reads earlier values of a secret. It needs the permission to
	// read the secret. A service may not: it only gets the current value.
	ReadVersions
	// WatchNames follows the changes of the secrets below a folder.
	WatchNames
	// ViewMode reads the security mode, where the Admin Router of DC/OS has it. It
	// needs full on dcos:adminrouter:ops:metadata.
	ViewMode
	// UseAccount reads an account of the IAM, or changes its password. It is open
	// to the account itself, and otherwise needs dcos:superuser.
	UseAccount
	// QueryPolicy asks what any user may do. It needs read on
	// dcos:iam:policyquery.
	QueryPolicy
	// MakeBackup reads the ciphertext of everything. It needs read on
	// dcos:secrets:backup:default.
	MakeBackup
	// SearchNames searches the names of the secrets below a folder. It needs the
	// permission to list the folder, or one below it. [Policy.DecideSearch] says
	// which names may be returned.
	SearchNames
)

// Request is one question to the policy. The zero value is refused.
type Request struct {
	Op Op
	// Path is the secret, or the folder of ListSecrets, SearchNames and WatchNames; unused
	// by ViewStore, ViewMode, Administer, QueryPolicy, MakeBackup and ResolveSecrets.
	Path Path
	// Account is the uid that UseAccount is about.
	Account string
	// Service is the service on whose behalf secrets are read, or whose tasks
	// MintTaskToken is for. It counts only if HasService. MintTaskToken needs
	// it. ReadSecret, ResolveSecrets and WatchNames take it, and all other
	// operations are refused with it.
	Service    Service
	HasService bool
}

// Decision is the answer of [Policy.Decide]. The zero value denies.
type Decision struct {
	Allowed bool
	// Resource and Action are what was asked for, in canonical form, for the
	// audit log and for the text that names a missing permission. They are
	// empty if the request concerns no resource.
	Resource string
	Action   string
	// Reason is one of a few fixed sentences, or "secret is not accessible from
	// service /x". It depends on the token, the policy and the request alone,
	// never on whether a secret exists.
	Reason string
}

// The reasons of decisions.
const (
	ReasonSuperuser    = "superuser"
	ReasonGranted      = "granted"
	ReasonGrantedBelow = "granted for folders below"
	ReasonOnBehalf     = "granted on behalf of the service"
	ReasonOwnSpace     = "in the space of the token's service"
	ReasonOwnService   = "the token's own service"
	ReasonAnyToken     = "any valid token"
	ReasonOwnAccount   = "the user's own account"
	ReasonHasGrants    = "permissions of some kind: the service decides"
	ReasonNobody       = "no identity"
	ReasonNoPolicy     = "no policy"
	ReasonNoPermission = "permission denied"
	ReasonBound        = "a token that is bound to a service may only read secrets"
	ReasonBadRequest   = "not a request that can be allowed"
)

// notAccessible is the text that users of Marathon and the agents know.
const notAccessible = "secret is not accessible from service "

const boundElsewhere = ": the token is bound to another service"

// Undecided denies without a reason. It only says what was asked for, for a
// request that is refused before permissions are checked.
func Undecided(req Request) Decision {
	res, action := req.needs()
	return Decision{Resource: res.String(), Action: action.String()}
}

// Decide decides whether who may do req. It denies by default.
func (p *Policy) Decide(who Principal, req Request) Decision {
	d, final := p.rules(who, req)
	if final {
		return d
	}
	r := p.rights(who.UID)
	if req.Op == ResolveSecrets && !req.HasService && r.some() {
		return d.allow(ReasonHasGrants)
	}
	for _, w := range req.ways() {
		if r.allows(w) {
			return d.allow(w.reason)
		}
	}
	if req.Op == SearchNames && r.someBelow(req.Path, kindList, Read) {
		return d.allow(ReasonGrantedBelow)
	}
	if req.Op == UseAccount && req.Account == who.UID {
		return d.allow(ReasonOwnAccount)
	}
	return d.lacks(req)
}

// rules makes the decisions that no grant changes. Others are not final.
func (p *Policy) rules(who Principal, req Request) (d Decision, final bool) {
	d = Undecided(req)
	if p == nil || !p.live {
		return d.deny(ReasonNoPolicy), true
	}
	if who.UID == "" {
		return d.deny(ReasonNobody), true
	}
	if svc, bound := who.Service.Get(); bound {
		return decideBound(d, svc, req), true
	}
	if !req.valid() {
		return d.deny(ReasonBadRequest), true
	}
	if req.Op == ReadSecret && req.HasService && !req.Service.MayRead(req.Path) {
		return d.deny(notAccessible + req.Service.String()), true
	}
	if req.Op == ViewStore {
		return d.allow(ReasonAnyToken), true
	}
	return d, false
}

// way is a permission that allows a request by itself. Nothing satisfies the zero
// way.
type way struct {
	res    Resource
	action Action
	reason string
}

// ways returns all ways to allow a valid request.
func (r Request) ways() (w [3]way) {
	w[0] = way{SuperuserResource(), Full, ReasonSuperuser}
	res, action := r.needs()
	switch r.Op {
	case Administer, UseAccount:
	case ResolveSecrets:
		w[1] = way{res, action, ReasonOnBehalf}
	case ReadSecret, WatchNames:
		w[1] = way{res, action, ReasonGranted}
		if r.HasService {
			w[2] = way{ResolveResource(r.Service), Read, ReasonOnBehalf}
		}
	default:
		w[1] = way{res, action, ReasonGranted}
	}
	return w
}

// DecideResource decides whether who may do a on what an id names, for services
// that ask about it. No service is named. An id of several resources is denied to
// all but superusers.
func (p *Policy) DecideResource(who Principal, id Pattern, a Action) Decision {
	d := Decision{Resource: id.String(), Action: a.String()}
	if a < Create || a > Full {
		return d.deny(ReasonBadRequest)
	}
	if admin := p.Decide(who, Request{Op: Administer}); admin.Allowed || admin.Reason != ReasonNoPermission {
		d.Allowed, d.Reason = admin.Allowed, admin.Reason
		return d
	}
	if res, ok := id.resource(); ok && p.rights(who.UID).allows(way{res, a, ReasonGranted}) {
		return d.allow(ReasonGranted)
	}
	return d.deny(ReasonNoPermission)
}

// DecideResolve decides whether who may fetch the secrets at paths for the
// tasks of svc. It needs the permission to resolve for svc, or the permission
// to read each of paths, or any permission at all if there are no paths.
// ReadSecret decides, path by path, which of them svc itself may have.
//
// A token that is bound to a service may resolve for that service alone,
// whatever it may read itself.
func (p *Policy) DecideResolve(who Principal, svc Service, paths []Path) Decision {
	d := p.Decide(who, Request{Op: ResolveSecrets, Service: svc, HasService: true})
	if _, bound := who.Service.Get(); d.Allowed || bound || !p.Decide(who, Request{Op: ResolveSecrets}).Allowed {
		return d
	}
	for _, path := range paths {
		if !p.Decide(who, Request{Op: ReadSecret, Path: path}).Allowed {
			return d
		}
	}
	return d.allow(ReasonGranted)
}

// MayHear decides whether who, following the changes below a folder as in req,
// may learn of a change of the secret name. Without a service these are the
// secrets that a list of their folder shows; with one, those that can be read
// on its behalf.
func (p *Policy) MayHear(who Principal, req Request, name Path) bool {
	if req.Op != WatchNames || !name.below(req.Path) || !p.Decide(who, req).Allowed {
		return false
	}
	if req.HasService {
		return p.Decide(who, Request{Op: ReadSecret, Path: name, Service: req.Service, HasService: true}).Allowed
	}
	return p.Decide(who, Request{Op: ListSecrets, Path: name.Folder()}).Allowed
}

// DecideSearch decides about [SearchNames] below a folder. If it is allowed,
// shown reports whether the names of the secrets in a folder may be returned:
// exactly if who may list that folder, as [Policy.Decide] says.
func (p *Policy) DecideSearch(who Principal, folder Path) (d Decision, shown func(Path) bool) {
	d = p.Decide(who, Request{Op: SearchNames, Path: folder})
	if !d.Allowed {
		return d, func(Path) bool { return false }
	}
	r := p.rights(who.UID)
	all := r.allows(way{SuperuserResource(), Full, ReasonSuperuser})
	// Who may list a folder may list those below it. It need not be decided for each.
	list := d.Reason == ReasonGranted
	return d, func(f Path) bool {
		return all || list && (f == folder || f.below(folder)) || r.allows(way{ListResource(f), Read, ReasonGranted})
	}
}

// MayCreateBelow reports whether who may create some secret below a folder.
// [Policy.Decide] decides about each.
func (p *Policy) MayCreateBelow(who Principal, folder Path) bool {
	if d, final := p.rules(who, Request{Op: ListSecrets, Path: folder}); final {
		return d.Allowed
	}
	r := p.rights(who.UID)
	return r.allows(way{SuperuserResource(), Full, ReasonSuperuser}) || r.someBelow(folder, kindSecret, Create)
}

// decideBound has all the rules for tokens that are bound to a service: they
// may read the secrets in its spaces, one by one or all that the service needs,
// and nothing else, whatever grants their uid has, superuser included.
func decideBound(d Decision, svc Service, req Request) Decision {
	switch {
	case req.Op != ReadSecret && req.Op != ResolveSecrets:
		return d.deny(ReasonBound)
	case req.HasService && req.Service != svc:
		return d.deny(notAccessible + req.Service.String() + boundElsewhere)
	case req.Op == ResolveSecrets:
		return d.allow(ReasonOwnService)
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
	case WatchNames:
		return true
	case CreateSecret, UpdateSecret, DeleteSecret, ReadVersions:
		return !r.Path.IsRoot() && !r.HasService
	case ListSecrets, SearchNames, ViewStore, ViewMode, Administer, UseAccount, QueryPolicy, MakeBackup:
		return !r.HasService
	case MintTaskToken:
		return r.HasService
	case ResolveSecrets:
		return true
	}
	return false
}

// needs returns the resource and the action that the request is about.
func (r Request) needs() (Resource, Action) {
	switch r.Op {
	case ReadSecret, ReadVersions:
		return SecretResource(r.Path), Read
	case CreateSecret:
		return SecretResource(r.Path), Create
	case UpdateSecret:
		return SecretResource(r.Path), Update
	case DeleteSecret:
		return SecretResource(r.Path), Delete
	case ListSecrets, SearchNames, WatchNames:
		return ListResource(r.Path), Read
	case Administer, UseAccount:
		return SuperuserResource(), Full
	case QueryPolicy:
		return PolicyQueryResource(), Read
	case MakeBackup:
		return BackupResource(), Read
	case ViewMode:
		return MetadataResource(), Full
	case MintTaskToken, ResolveSecrets:
		if !r.HasService {
			return Resource{}, Read
		}
		return ResolveResource(r.Service), Read
	}
	return Resource{}, 0
}

func (d Decision) allow(reason string) Decision {
	d.Allowed, d.Reason = true, reason
	return d
}

// lacks denies because a permission is missing.
func (d Decision) lacks(req Request) Decision {
	if req.Op == WatchNames && req.HasService {
		// The permission that a scheduler should get: the one for the list of
		// the folder would show it all names.
		d.Resource = ResolveResource(req.Service).String()
	}
	return d.deny(ReasonNoPermission)
}

func (d Decision) deny(reason string) Decision {
	d.Allowed, d.Reason = false, reason
	return d
}
