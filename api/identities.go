package api

import (
	"context"
	"net/http"
	"net/netip"

	"secretstore/acl"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
)

// Identities is the IAM of a server.
type Identities struct {
	Accounts acs.Accounts
	Tokens   acs.Tokens
	OIDC     acs.OIDC // nil without OpenID Connect providers
}

// identityEndpoints are those of the IAM. A server without one does not have them.
func identityEndpoints(h *acs.Handlers, c *changer) []*endpoint {
	look, edit, own := rowOf(c, acl.Administer), rowOf(c, acl.Administer), rowOf(c, acl.UseAccount)
	rows := []*endpoint{
		look("users.list", http.MethodGet, acs.Users, h.ListUsers),
		own("users.show", http.MethodGet, acs.User, h.ShowUser),
		edit("users.create", http.MethodPut, acs.User, h.CreateUser).takes(identityBody).does("the account was created"),
		own("users.update", http.MethodPatch, acs.User, h.UpdateUser).takes(identityBody).does("the account was changed"),
		edit("users.delete", http.MethodDelete, acs.User, h.DeleteUser).does("the account was deleted"),
		own("users.groups", http.MethodGet, acs.UserGroups, h.ListGroupsOfUser),
		own("users.permissions", http.MethodGet, acs.UserPermissions, h.ShowUserPermissions),
		edit("users.revoke", http.MethodPost, acs.UserRevoke, h.RevokeTokens).does("the tokens of the account were revoked"),
		own("keys.list", http.MethodGet, acs.UserKeys, h.ListKeys),
		edit("keys.add", http.MethodPut, acs.UserKeys, h.AddKey).takes(identityBody).does("the key was added"),
		edit("keys.delete", http.MethodDelete, acs.UserKey, h.DeleteKey).does("the key was deleted"),

		look("groups.list", http.MethodGet, acs.Groups, h.ListGroups),
		look("groups.show", http.MethodGet, acs.Group, h.ShowGroup),
		edit("groups.create", http.MethodPut, acs.Group, h.CreateGroup).takes(identityBody).does("the group was created"),
		edit("groups.update", http.MethodPatch, acs.Group, h.UpdateGroup).takes(identityBody).does("the group was changed"),
		edit("groups.delete", http.MethodDelete, acs.Group, h.DeleteGroup).does("the group was deleted"),
		look("groups.permissions", http.MethodGet, acs.GroupPermissions, h.ShowGroupPermissions),
		look("members.list", http.MethodGet, acs.Members, h.ListMembers),
		edit("members.add", http.MethodPut, acs.Member, h.AddMember).does("the user was put into the group"),
		edit("members.remove", http.MethodDelete, acs.Member, h.RemoveMember).does("the user was taken out of the group"),

		look("acls.list", http.MethodGet, acs.ACLs, h.ListACLs),
		look("acls.show", http.MethodGet, acs.ACL, h.ShowACL),
		edit("acls.create", http.MethodPut, acs.ACL, h.CreateACL).takes(identityBody).does("the ACL was created"),
		edit("acls.update", http.MethodPatch, acs.ACL, h.UpdateACL).takes(identityBody).does("the ACL was changed"),
		edit("acls.delete", http.MethodDelete, acs.ACL, h.DeleteACL).does("the ACL was deleted"),
		look("acls.permissions", http.MethodGet, acs.ACLPermissions, h.ShowACLPermissions),

		look("oidc.list", http.MethodGet, acs.OIDCProviders, h.ListOIDC),
		look("oidc.show", http.MethodGet, acs.OIDCProvider, h.ShowOIDC),
		edit("oidc.create", http.MethodPut, acs.OIDCProvider, h.CreateOIDC).takes(oidcBody).does("the provider was created"),
		edit("oidc.update", http.MethodPatch, acs.OIDCProvider, h.UpdateOIDC).takes(oidcBody).does("the provider was changed"),
		edit("oidc.delete", http.MethodDelete, acs.OIDCProvider, h.DeleteOIDC).does("the provider was deleted"),

		look("policyquery", http.MethodGet, acs.PolicyQuery, h.QueryPolicy).asks(acl.QueryPolicy),
		look("build-info", http.MethodGet, acs.BuildInfo, h.ShowBuildInfo).asks(acl.ViewStore),

		look("sign-in", http.MethodPost, acs.Login, h.SignIn).takes(identityBody).opened(true),
		look("sign-in.start", http.MethodGet, acs.Login, h.StartFlow).opened(false).forBrowsers(),
		look("sign-in.finish", http.MethodGet, acs.OIDCCallback, h.FinishFlow).opened(true).forBrowsers(),
		look("sign-in.exchange", http.MethodPost, acs.OIDCExchange, h.Exchange).takes(identityBody).opened(true),
		look("sign-out", http.MethodGet, acs.Logout, h.SignOut).opened(false),
		look("jwks", http.MethodGet, acs.JWKS, h.ShowJWKS).opened(false),
		edit("jwks.rotate", http.MethodPost, acs.RotateKey, h.RotateKey).does("a new key for tokens was made"),
		look("providers", http.MethodGet, acs.Providers, h.ListProviders).opened(false),
		look("openapi.yaml", http.MethodGet, acs.Description, describeAsYAML).opened(false),
	}
	for _, of := range []struct{ entry, permission, name string }{{acs.UserEntry, acs.UserPermission, "user"}, {acs.GroupEntry, acs.GroupPermission, "group"}} {
		may := h.UserMay
		if of.name == "group" {
			may = h.GroupMay
		}
		rows = append(rows,
			look("grants."+of.name+".list", http.MethodGet, of.entry, h.ShowEntry),
			edit("grants."+of.name+".delete", http.MethodDelete, of.entry, h.DeleteEntry).does("the grants were revoked"),
			look("grants."+of.name+".show", http.MethodGet, of.permission, may),
			edit("grants."+of.name+".create", http.MethodPut, of.permission, h.Grant).takes(optionalIdentityBody).does("the permission was granted"),
			edit("grants."+of.name+".revoke", http.MethodDelete, of.permission, h.Revoke).does("the grant was revoked"))
	}
	return rows
}

// rowOf returns what makes rows that ask the policy for op.
func rowOf(c *changer, op acl.Op) func(name, method, path string, run answerer) *endpoint {
	return func(name, method, path string, run answerer) *endpoint {
		return &endpoint{name: "iam." + name, method: method, path: path, root: true, identities: true, op: op, run: runIdentity(c, run)}
	}
}

type answerer = func(context.Context, *acs.Call) (answer.Reply, error)

// takes lets the endpoint take a body.
func (ep *endpoint) takes(limit func(*request) (body.Limit, error)) *endpoint {
	probe := &request{Request: &http.Request{}}
	_, err := limit(probe)
	ep.body, ep.optional = limit, err == nil // it takes a request without a body
	return ep
}

// does says what the endpoint has done when it succeeds.
func (ep *endpoint) does(effect string) *endpoint {
	ep.effect = effect
	return ep
}

// asks replaces what the policy is asked for.
func (ep *endpoint) asks(op acl.Op) *endpoint {
	ep.op = op
	return ep
}

// opened makes the endpoint one that takes no token.
func (ep *endpoint) opened(audited bool) *endpoint {
	ep.open, ep.audited, ep.op = true, audited, 0
	return ep
}

// forBrowsers makes the endpoint one that also answers clients which take HTML alone.
func (ep *endpoint) forBrowsers() *endpoint {
	ep.browsers = true
	return ep
}

// runIdentity has a request to the IAM answered. Changes go through changes.
func runIdentity(changes *changer, do answerer) func(*exchange) (answer.Reply, error) {
	return func(x *exchange) (answer.Reply, error) {
		browser := x.req.ep.browsers && head.AcceptsHTML(x.req.Header)
		if err := acs.CheckAccept(x.req.Header); err != nil && !browser {
			return answer.Reply{}, err
		}
		if x.req.query.Paging != nil {
			return answer.Reply{}, x.req.query.Paging
		}
		remote, _ := netip.ParseAddr(x.req.remote) // the zero address is one, too
		c := &acs.Call{
			Target: x.req.names, Principal: x.who.principal, Own: x.who.decision.Reason == acl.ReasonOwnAccount,
			Query: x.req.URL.Query(), Limit: x.req.query.Limit, After: x.req.query.After, Body: x.content, Remote: remote,
			State: stateCookie(x.req.Request), Browser: browser, Request: x.req.Request,
			Change: func(change func(context.Context) error) error { return changes.do(x, 0, change) },
		}
		rep, err := do(x.req.Context(), c)
		x.out.about = c.About
		if err == nil && c.SignedIn != "" {
			x.who.principal = acl.Principal{UID: string(c.SignedIn)}
			x.who.decision = acl.Decision{Allowed: true, Reason: reasonSignedIn}
		}
		return rep, err
	}
}

// stateCookie returns the cookie of a flow; "" unless there is exactly one.
func stateCookie(r *http.Request) string {
	if all := r.CookiesNamed(acs.StateCookie); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

const reasonSignedIn = "signed in"

// identityBody is that of all documents of the IAM.
func identityBody(r *request) (body.Limit, error) { return checkIdentityBody(r, false) }

// oidcBody is that of a provider, which holds certificates.
func oidcBody(r *request) (body.Limit, error) {
	limit, err := checkIdentityBody(r, false)
	limit.Bytes = acs.MaxProviderBody
	return limit, err
}

// optionalIdentityBody may be missing.
func optionalIdentityBody(r *request) (body.Limit, error) { return checkIdentityBody(r, true) }

func checkIdentityBody(r *request, optional bool) (body.Limit, error) {
	limit := body.Limit{Bytes: acs.MaxBody, TooLarge: "the body is too large"}
	if err := acs.CheckAccept(r.Header); err != nil {
		return limit, err
	}
	return limit, acs.CheckType(r.Request, optional)
}

// otherMethod is the endpoint of the IAM for the methods that a path does not have.
// As in DC/OS, what is wrong with a body comes first.
func otherMethod(res *resource, path string) *endpoint {
	return &endpoint{
		name: "iam.method", path: path, root: true, identities: true, op: acl.Administer, optional: true, reads: true,
		body: func(r *request) (body.Limit, error) {
			switch r.Method {
			case http.MethodPut, http.MethodPost, http.MethodPatch:
				return optionalIdentityBody(r)
			}
			return body.Limit{Bytes: acs.MaxBody, TooLarge: "the body is too large"}, nil
		},
		run: func(x *exchange) (answer.Reply, error) {
			if len(x.content) > 0 && x.req.Method != http.MethodDelete {
				if err := acs.CheckJSON(x.content); err != nil {
					return answer.Reply{}, err
				}
			}
			return answer.Reply{}, methodNotAllowed(res)
		},
	}
}

// describeAsYAML answers with the description of the API as it was written.
func describeAsYAML(context.Context, *acs.Call) (answer.Reply, error) {
	return answer.Reply{Status: http.StatusOK, ContentType: "application/x-yaml; charset=utf-8", Body: openAPI}, nil
}
