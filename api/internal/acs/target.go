package acs

import (
	"net/url"
	"strings"

	"secretstore/api/wire"
	"secretstore/iam"
)

// The templates of the paths below [wire.IAMBasePath], with the names of
// parameters in braces.
const (
	Users           = wire.IAMBasePath + "/users"
	User            = Users + "/{uid}"
	UserGroups      = User + "/groups"
	UserPermissions = User + "/permissions"
	UserRevoke      = User + "/revoke"
	UserKeys        = User + "/keys"
	UserKey         = UserKeys + "/{key}"

	Groups           = wire.IAMBasePath + "/groups"
	Group            = Groups + "/{gid}"
	GroupPermissions = Group + "/permissions"
	Members          = Group + "/users"
	Member           = Members + "/{uid}"

	ACLs            = wire.IAMBasePath + "/acls"
	ACL             = ACLs + "/{rid}"
	ACLPermissions  = ACL + "/permissions"
	UserEntry       = ACL + "/users/{uid}"
	UserPermission  = UserEntry + "/{action}"
	GroupEntry      = ACL + "/groups/{gid}"
	GroupPermission = GroupEntry + "/{action}"

	PolicyQuery = wire.IAMBasePath + "/internal/policyquery"
	Description = wire.IAMBasePath + "/internal/openapispec.yaml"

	Login     = wire.IAMBasePath + "/auth/login"
	Logout    = wire.IAMBasePath + "/auth/logout"
	JWKS      = wire.IAMBasePath + "/auth/jwks"
	RotateKey = wire.IAMBasePath + "/auth/jwks/rotate"
	Providers = wire.IAMBasePath + "/auth/providers"

	OIDCProviders = wire.IAMBasePath + "/auth/oidc/providers"
	OIDCProvider  = OIDCProviders + "/{provider}"
	OIDCCallback  = wire.IAMBasePath + "/auth/oidc/callback"
	OIDCExchange  = wire.IAMBasePath + "/auth/oidc/exchange"

	// BuildInfo is where the command line of DC/OS asks whether a cluster wants a
	// sign-in, and of which kind.
	BuildInfo = "/pkgpanda/active.buildinfo.full.json"
)

// fixed are the templates without parameters.
var fixed = []string{Users, Groups, ACLs, PolicyQuery, Description, Login, Logout, JWKS, RotateKey, Providers, OIDCProviders, OIDCCallback, OIDCExchange}

// Target is what a path names. Its ids are not checked.
type Target struct {
	Template string // "": nothing that this package knows
	UID      string
	GID      string
	RID      string
	Action   string
	Key      string // of a service account
	Provider string // of OpenID Connect
}

// Covers reports whether a path, escaped as it was sent, is for [Find].
func Covers(escaped string) bool {
	rest, ok := strings.CutPrefix(escaped, wire.IAMBasePath)
	return ok && (rest == "" || rest[0] == '/')
}

// Find reads a path, escaped as it was sent. %2F and %252F are part of an id, and
// slashes do not collapse.
//
// Clients also write the slashes of a rid as they are. What follows the rid is
// then found from the right. isACL reports whether there is an ACL for a rid: it
// takes precedence over an entry or the permissions of a shorter one. It may be
// nil.
func Find(escaped string, isACL func(rid string) bool) Target {
	for _, path := range fixed {
		if escaped == path || escaped == path+"/" {
			return Target{Template: path}
		}
	}
	if rest, ok := strings.CutPrefix(escaped, Users+"/"); ok {
		return findUser(segments(rest))
	}
	if rest, ok := strings.CutPrefix(escaped, OIDCProviders+"/"); ok {
		if s := segments(rest); len(s) == 1 {
			return Target{Template: OIDCProvider, Provider: plain(s[0])}
		}
		return Target{}
	}
	if rest, ok := strings.CutPrefix(escaped, Groups+"/"); ok {
		return findGroup(segments(rest))
	}
	if rest, ok := strings.CutPrefix(escaped, ACLs+"/"); ok {
		return findACL(strings.Split(rest, "/"), isACL)
	}
	return Target{}
}

// segments splits what follows a collection. One slash at the end does not count.
func segments(rest string) []string { return strings.Split(strings.TrimSuffix(rest, "/"), "/") }

func findUser(s []string) Target {
	t := Target{UID: plain(s[0])}
	switch {
	case len(s) == 1:
		t.Template = User
	case len(s) == 2 && s[1] == "groups":
		t.Template = UserGroups
	case len(s) == 2 && s[1] == "permissions":
		t.Template = UserPermissions
	case len(s) == 2 && s[1] == "revoke":
		t.Template = UserRevoke
	case len(s) == 2 && s[1] == "keys":
		t.Template = UserKeys
	case len(s) == 3 && s[1] == "keys":
		t.Template, t.Key = UserKey, plain(s[2])
	}
	return t
}

func findGroup(s []string) Target {
	t := Target{GID: plain(s[0])}
	switch {
	case len(s) == 1:
		t.Template = Group
	case len(s) == 2 && s[1] == "permissions":
		t.Template = GroupPermissions
	case len(s) == 2 && s[1] == "users":
		t.Template = Members
	case len(s) == 3 && s[1] == "users":
		t.Template, t.UID = Member, plain(s[2])
	}
	return t
}

func findACL(s []string, isACL func(string) bool) Target {
	n := len(s)
	if n >= 4 && isHolder(s[n-3]) {
		t := entry(s[:n-3], s[n-3], s[n-2])
		t.Template, t.Action = t.Template+"/{action}", plain(s[n-1])
		return t
	}
	whole := Target{Template: ACL, RID: rid(s)}
	switch {
	case n >= 2 && s[n-1] == "permissions", n >= 3 && isHolder(s[n-2]):
		if isACL != nil && isACL(whole.RID) {
			return whole
		}
		if s[n-1] == "permissions" && !(n >= 3 && isHolder(s[n-2])) {
			return Target{Template: ACLPermissions, RID: rid(s[:n-1])}
		}
		return entry(s[:n-2], s[n-2], s[n-1])
	}
	return whole
}

func isHolder(segment string) bool { return segment == "users" || segment == "groups" }

func entry(ofRID []string, holders, id string) Target {
	if holders == "users" {
		return Target{Template: UserEntry, RID: rid(ofRID), UID: plain(id)}
	}
	return Target{Template: GroupEntry, RID: rid(ofRID), GID: plain(id)}
}

// rid decodes once. Package iam knows the spellings of a slash that are left.
func rid(s []string) string { return plain(strings.Join(s, "/")) }

// plain decodes an id. net/http has refused malformed escapes.
func plain(escaped string) string {
	s, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped
	}
	return s
}

// Name is what the audit log calls the target: its path below the base, ids
// decoded.
func (t *Target) Name() string {
	below := strings.TrimPrefix(t.Template, wire.IAMBasePath+"/")
	return strings.NewReplacer("{uid}", t.UID, "{gid}", t.GID, "{rid}", iam.SpellRID(t.RID), "{action}", t.Action, "{key}", t.Key, "{provider}", t.Provider).Replace(below)
}
