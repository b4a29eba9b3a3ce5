package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// Identities calls the endpoints about people, services and groups, and those
// with which they sign in, each by one method. Refusals have an [Error.Code].
type Identities struct{ c *Client }

// Identities returns the calls about identities. They use the configuration of c.
func (c *Client) Identities() Identities { return Identities{c} }

// identityPath joins the parts of a path below /acs/api/v1, each of them escaped.
func identityPath(parts ...string) string {
	path := wire.IAMBasePath
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}

// read asks for a document.
func read[T any](ctx context.Context, c *Client, query url.Values, parts ...string) (T, error) {
	return doJSON[T](ctx, c, call{method: http.MethodGet, root: true, path: identityPath(parts...), query: query}, nil)
}

// change sends a document, if in is not nil. The answer has no body.
func change(ctx context.Context, c *Client, method string, in any, parts ...string) error {
	k := call{method: method, root: true, path: identityPath(parts...)}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return ErrNotText
		}
		defer clear(body)
		k.body, k.header = body, http.Header{"Content-Type": {wire.TypeJSON}}
	}
	_, err := c.do(ctx, k)
	return err
}

// ofKind asks for the service accounts, or for the people.
func ofKind(services bool) url.Values {
	if services {
		return url.Values{"type": {"service"}}
	}
	return nil
}

// SignIn returns a token. ErrUnauthorized, ErrBusy.
func (i Identities) SignIn(ctx context.Context, login wire.Login) (string, error) {
	return i.token(ctx, login, "auth", "login")
}

// Exchange returns the token for the code of a sign-in in a browser. ErrUnauthorized.
func (i Identities) Exchange(ctx context.Context, e wire.CodeExchange) (string, error) {
	return i.token(ctx, e, "auth", "oidc", "exchange")
}

// token sends a credential, and returns the token for it. The request may be repeated
// at another server: a code that was taken is refused then.
func (i Identities) token(ctx context.Context, credential any, parts ...string) (string, error) {
	body, err := json.Marshal(credential)
	if err != nil {
		return "", ErrNotText
	}
	defer clear(body)
	k := call{method: http.MethodPost, root: true, path: identityPath(parts...), body: body,
		header: http.Header{"Content-Type": {wire.TypeJSON}}, reads: true}
	got, err := doJSON[wire.AuthToken](ctx, i.c, k, nil)
	return got.Token, err
}

// Providers returns the ways to sign in, by name.
func (i Identities) Providers(ctx context.Context) (map[string]wire.LoginProvider, error) {
	return read[map[string]wire.LoginProvider](ctx, i.c, nil, "auth", "providers")
}

// OIDCProviders returns the OpenID Connect providers, by id. ErrDenied.
func (i Identities) OIDCProviders(ctx context.Context) (map[string]wire.OIDCProvider, error) {
	ids, err := read[map[string]string](ctx, i.c, nil, "auth", "oidc", "providers")
	if err != nil {
		return nil, err
	}
	all := make(map[string]wire.OIDCProvider, len(ids))
	for id := range ids {
		if all[id], err = read[wire.OIDCProvider](ctx, i.c, nil, "auth", "oidc", "providers", id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Check returns nil if the token of the client is valid. ErrDenied says that it
// is, too.
func (i Identities) Check(ctx context.Context) error {
	_, err := i.c.do(ctx, call{method: http.MethodGet, root: true, path: wire.SignedInPath})
	return err
}

// Users returns the people, or the service accounts.
func (i Identities) Users(ctx context.Context, services bool) ([]wire.User, error) {
	got, err := read[wire.Users](ctx, i.c, ofKind(services), "users")
	return got.Array, err
}

// LastUses returns the people, or the service accounts, with when each was made and
// last used.
func (i Identities) LastUses(ctx context.Context, services bool) ([]wire.User, error) {
	query := url.Values{"last_use": {"true"}}
	if services {
		query.Set("type", "service")
	}
	got, err := read[wire.Users](ctx, i.c, query, "users")
	return got.Array, err
}

// User returns one account.
func (i Identities) User(ctx context.Context, uid string) (wire.User, error) {
	return read[wire.User](ctx, i.c, nil, "users", uid)
}

// CreateUser makes an account. ErrExists.
func (i Identities) CreateUser(ctx context.Context, uid string, u wire.UserCreate) error {
	return change(ctx, i.c, http.MethodPut, u, "users", uid)
}

// UpdateUser changes an account.
func (i Identities) UpdateUser(ctx context.Context, uid string, u wire.UserUpdate) error {
	return change(ctx, i.c, http.MethodPatch, u, "users", uid)
}

// ChangePassword gives the account of the caller another password. ErrBusy.
func (i Identities) ChangePassword(ctx context.Context, uid string, old, password []byte) error {
	return i.UpdateUser(ctx, uid, wire.UserUpdate{Password: password, OldPassword: old})
}

// DeleteUser deletes an account with its grants.
func (i Identities) DeleteUser(ctx context.Context, uid string) error {
	return change(ctx, i.c, http.MethodDelete, nil, "users", uid)
}

// RevokeTokens ends all tokens of an account.
func (i Identities) RevokeTokens(ctx context.Context, uid string) error {
	return change(ctx, i.c, http.MethodPost, nil, "users", uid, "revoke")
}

// GroupsOf returns the groups that an account is in.
func (i Identities) GroupsOf(ctx context.Context, uid string) ([]wire.GroupOfUser, error) {
	got, err := read[wire.GroupsOfUser](ctx, i.c, nil, "users", uid, "groups")
	return got.Array, err
}

// Permissions returns what was granted to an account, and to its groups.
func (i Identities) Permissions(ctx context.Context, uid string) (wire.UserPermissions, error) {
	return read[wire.UserPermissions](ctx, i.c, nil, "users", uid, "permissions")
}

// Keys returns the public keys of a service account, the newest first.
func (i Identities) Keys(ctx context.Context, uid string) ([]wire.AccountKey, error) {
	got, err := read[wire.AccountKeys](ctx, i.c, nil, "users", uid, "keys")
	return got.Array, err
}

// AddKey gives a service account one more public key.
func (i Identities) AddKey(ctx context.Context, uid string, k wire.AccountKeyAdd) error {
	return change(ctx, i.c, http.MethodPut, k, "users", uid, "keys")
}

// DeleteKey takes a public key from a service account.
func (i Identities) DeleteKey(ctx context.Context, uid, id string) error {
	return change(ctx, i.c, http.MethodDelete, nil, "users", uid, "keys", id)
}

// Groups returns the groups.
func (i Identities) Groups(ctx context.Context) ([]wire.Group, error) {
	got, err := read[wire.Groups](ctx, i.c, nil, "groups")
	return got.Array, err
}

// Group returns one group.
func (i Identities) Group(ctx context.Context, gid string) (wire.Group, error) {
	return read[wire.Group](ctx, i.c, nil, "groups", gid)
}

// CreateGroup makes a group. ErrExists.
func (i Identities) CreateGroup(ctx context.Context, gid string, g wire.GroupCreate) error {
	return change(ctx, i.c, http.MethodPut, g, "groups", gid)
}

// UpdateGroup changes the description of a group.
func (i Identities) UpdateGroup(ctx context.Context, gid, description string) error {
	return change(ctx, i.c, http.MethodPatch, wire.Description{Description: description}, "groups", gid)
}

// DeleteGroup deletes a group with its grants.
func (i Identities) DeleteGroup(ctx context.Context, gid string) error {
	return change(ctx, i.c, http.MethodDelete, nil, "groups", gid)
}

// Members returns the people in a group, or its service accounts.
func (i Identities) Members(ctx context.Context, gid string, services bool) ([]wire.MemberOfGroup, error) {
	got, err := read[wire.MembersOfGroup](ctx, i.c, ofKind(services), "groups", gid, "users")
	return got.Array, err
}

// AddMember puts an account into a group. ErrExists.
func (i Identities) AddMember(ctx context.Context, gid, uid string) error {
	return change(ctx, i.c, http.MethodPut, nil, "groups", gid, "users", uid)
}

// RemoveMember takes an account out of a group.
func (i Identities) RemoveMember(ctx context.Context, gid, uid string) error {
	return change(ctx, i.c, http.MethodDelete, nil, "groups", gid, "users", uid)
}

// RotateKey makes a new key that signs tokens.
func (i Identities) RotateKey(ctx context.Context) error {
	return change(ctx, i.c, http.MethodPost, nil, "auth", "jwks", "rotate")
}
