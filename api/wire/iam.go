package wire

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// IAMBasePath precedes the endpoints of the IAM.
	IAMBasePath = "/acs/api/v1"
	// InfoCookie tells the pages of a server who has signed in. It is not a
	// credential.
	InfoCookie = "dcos-acs-info-cookie"
	// TypeIAM is the content type of the answers of the IAM. Clients compare the
	// whole string.
	TypeIAM = "application/json; charset=utf-8"
)

// User is a person or a service account.
type User struct {
	UID          string `json:"uid"`
	URL          string `json:"url"` // without the host
	Description  string `json:"description"`
	IsRemote     bool   `json:"is_remote"`
	IsService    bool   `json:"is_service"`
	ProviderType string `json:"provider_type"` // internal, ldap, oidc, saml
	ProviderID   string `json:"provider_id"`
	// PublicKey is the newest one of a service account, as it was given.
	PublicKey string `json:"public_key,omitempty"`
	// The rest is there only if it is asked for with ?last_use=true, which DC/OS
	// does not know. CreatedBy is the uid that made the account, LastUse when it last
	// signed in or sent its token, to the hour; absent if they are not known.
	CreatedBy string    `json:"created_by,omitempty"`
	Created   time.Time `json:"created,omitzero"`
	LastUse   time.Time `json:"last_use,omitzero"`
}

// Users is the answer to GET /users.
type Users struct {
	Array []User `json:"array"`
	// Next is the `after` of the following page; absent on the last.
	Next string `json:"next,omitempty"`
}

// UserCreate is the body of PUT /users/{uid}. Nil members are not given.
type UserCreate struct {
	Description  string   `json:"description,omitempty"`
	Password     Password `json:"password,omitempty"`
	PublicKey    *string  `json:"public_key,omitempty"` // RSA, X.509 SubjectPublicKeyInfo, PEM
	ProviderType *string  `json:"provider_type,omitempty"`
	ProviderID   *string  `json:"provider_id,omitempty"`
}

// UserUpdate is the body of PATCH /users/{uid}. Nil members stay unchanged.
type UserUpdate struct {
	Description *string  `json:"description,omitzero"` // also "", which clears it
	Password    Password `json:"password,omitempty"`
	// OldPassword lets users change their own password without being superusers.
	OldPassword Password `json:"old_password,omitempty"`
}

// AccountKey is a public key of a service account.
type AccountKey struct {
	ID        string    `json:"id"`
	PublicKey string    `json:"public_key"`
	By        string    `json:"by,omitempty"` // the uid that added it
	At        time.Time `json:"at"`
	// RetireAfter is when the key ends; absent if it has no end.
	RetireAfter time.Time `json:"retire_after,omitzero"`
}

// AccountKeys is the answer to GET /users/{uid}/keys, newest first.
type AccountKeys struct {
	Array []AccountKey `json:"array"`
}

// AccountKeyAdd is the body of PUT /users/{uid}/keys.
type AccountKeyAdd struct {
	PublicKey string `json:"public_key"`
	// RetireAfter is when the other keys of the account end; without it they
	// stay.
	RetireAfter *time.Time `json:"retire_after,omitempty"`
}

// Group is a group of users.
type Group struct {
	GID          string `json:"gid"`
	URL          string `json:"url"`
	Description  string `json:"description"`
	ProviderType string `json:"provider_type"`
}

// Groups is the answer to GET /groups.
type Groups struct {
	Array []Group `json:"array"`
	Next  string  `json:"next,omitempty"` // as in Users
}

// GroupCreate is the body of PUT /groups/{gid}.
type GroupCreate struct {
	Description  string  `json:"description"`
	ProviderType *string `json:"provider_type,omitempty"`
}

// Description is the body of PUT of an ACL, and of PATCH of a group or an ACL.
type Description struct {
	Description string `json:"description"`
}

// GroupOfUser is one group that a user is in.
type GroupOfUser struct {
	MembershipURL string `json:"membershipurl"`
	Group         Group  `json:"group"`
}

// GroupsOfUser is the answer to GET /users/{uid}/groups.
type GroupsOfUser struct {
	Array []GroupOfUser `json:"array"`
}

// MemberOfGroup is one user in a group.
type MemberOfGroup struct {
	MembershipURL string `json:"membershipurl"`
	User          User   `json:"user"`
	// By is the uid that put the user into the group, At when; absent if they are
	// not known.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// MembersOfGroup is the answer to GET /groups/{gid}/users.
type MembersOfGroup struct {
	Array []MemberOfGroup `json:"array"`
	Next  string          `json:"next,omitempty"` // as in Users
}

// ACL says that grants can be made on a resource.
type ACL struct {
	RID         string `json:"rid"` // as it was first written
	URL         string `json:"url"`
	Description string `json:"description"`
}

// ACLs is the answer to GET /acls.
type ACLs struct {
	Array []ACL  `json:"array"`
	Next  string `json:"next,omitempty"` // as in Users
}

// GrantCreate is the body of PUT of a grant. It may be missing.
type GrantCreate struct {
	// Until is when the grant ends; nil if it has no end.
	Until *time.Time `json:"until,omitempty"`
}

// Action is an action that was granted.
type Action struct {
	Name string `json:"name"` // create, read, update, delete, full
	URL  string `json:"url"`
	By   string `json:"by,omitempty"` // the uid that granted it
	// At is when it was granted, Until when the grant ends; absent if it is not
	// known, or has no end.
	At    time.Time `json:"at,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Actions is the answer to GET of what a user or a group has in an ACL.
type Actions struct {
	Array []Action `json:"array"`
}

// Permission is what one user or group has on a resource.
type Permission struct {
	RID         string   `json:"rid"`
	Description string   `json:"description"`
	ACLURL      string   `json:"aclurl"`
	Actions     []Action `json:"actions"`
}

// Permissions is the answer to GET /groups/{gid}/permissions.
type Permissions struct {
	Array []Permission `json:"array"`
}

// GroupPermission is what a user has on a resource by a group.
type GroupPermission struct {
	RID           string   `json:"rid"`
	GID           string   `json:"gid"`
	Description   string   `json:"description"`
	ACLURL        string   `json:"aclurl"`
	MembershipURL string   `json:"membershipurl"`
	Actions       []Action `json:"actions"`
}

// UserPermissions is the answer to GET /users/{uid}/permissions.
type UserPermissions struct {
	Direct []Permission      `json:"direct"`
	Groups []GroupPermission `json:"groups"`
}

// UserEntry is what a user has in an ACL.
type UserEntry struct {
	UID     string   `json:"uid"`
	UserURL string   `json:"userurl"`
	Actions []Action `json:"actions"`
}

// GroupEntry is what a group has in an ACL.
type GroupEntry struct {
	GID      string   `json:"gid"`
	GroupURL string   `json:"groupurl"`
	Actions  []Action `json:"actions"`
}

// ACLPermissions is the answer to GET /acls/{rid}/permissions.
type ACLPermissions struct {
	Users  []UserEntry  `json:"users"`
	Groups []GroupEntry `json:"groups"`
}

// Allowed is the answer to a question about a permission.
type Allowed struct {
	Allowed bool `json:"allowed"`
}

// Login is the body of POST /auth/login: a uid with a password, or with the token
// of a service, signed with its key.
type Login struct {
	UID      *string  `json:"uid,omitempty"`
	Password Password `json:"password,omitempty"`
	Token    Password `json:"token,omitempty"`
	// Exp is when the token that a service gets should end, in seconds since 1970.
	Exp *int64 `json:"exp,omitempty"`
}

// CodeExchange is the body of POST /auth/oidc/exchange, with which a program gets the
// token of a sign-in in a browser.
type CodeExchange struct {
	Code string `json:"code"`
	// Verifier is what the challenge of the sign-in was made from.
	Verifier Password `json:"code_verifier"`
}

// AuthToken is the answer to POST /auth/login and /auth/oidc/exchange.
type AuthToken struct {
	Token string `json:"token"`
}

// StartSession is the member of LoginProvider.Config with the address where a browser
// signs in to the pages of the server.
const StartSession = "start_session_url"

// LoginProvider is a way to sign in, for GET /auth/providers.
type LoginProvider struct {
	AuthenticationType string            `json:"authentication-type"`
	ClientMethod       string            `json:"client-method"`
	Config             map[string]string `json:"config"`
	Description        string            `json:"description"`
}

// OIDCProvider is an OpenID Connect provider.
type OIDCProvider struct {
	Description  string            `json:"description,omitempty"`
	Issuer       string            `json:"issuer,omitempty"`
	BaseURL      string            `json:"base_url,omitempty"`
	ClientID     string            `json:"client_id,omitempty"`
	ClientSecret string            `json:"client_secret,omitempty"` // in answers ********
	VerifyServer bool              `json:"verify_server_certificate,omitzero"`
	CACerts      string            `json:"ca_certs,omitempty"`
	GroupsClaim  []string          `json:"groups_claim,omitempty"` // the names on the way to the claim
	Groups       map[string]string `json:"groups,omitempty"`       // value of the claim to group
}

// Password is a password or another credential. In JSON it is a string. It is a
// byte slice so that its holder can clear it; nil is none.
type Password []byte

// errNotPassword repeats nothing of what was sent.
var errNotPassword = errors.New("a password must be a string")

// UnmarshalJSON reads a JSON string into a new slice, without a Go string on the
// way.
func (p *Password) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] != '"' {
		return errNotPassword
	}
	plain, err := jsontext.AppendUnquote(make([]byte, 0, len(text)), text)
	if err != nil {
		clear(plain)
		return errNotPassword
	}
	*p = plain
	return nil
}

// MarshalJSON returns the password as a JSON string.
func (p Password) MarshalJSON() ([]byte, error) {
	text, err := jsontext.AppendQuote(nil, p)
	if err != nil {
		return nil, errNotPassword
	}
	return text, nil
}

// String keeps the password out of logs and errors.
func (p Password) String() string { return "password(hidden)" }

// GoString keeps the password out of %#v.
func (p Password) GoString() string { return p.String() }
