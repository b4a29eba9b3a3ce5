package acs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/authority"
)

// Accounts are the entries of the IAM, and who can sign in to them. Its errors are
// those of package authority.
type Accounts interface {
	// Directory returns the entries, with the superusers of the file.
	Directory() (*iam.Directory, error)
	// Known returns what may be used although the store is sealed.
	Known() *iam.Directory
	// LastUses returns when accounts were last used, as far as it is known.
	LastUses() map[iam.UID]time.Time
	// Change writes what f makes of the directory. It may call f several times.
	Change(ctx context.Context, f func(*iam.Directory) (iam.Change, error)) error
	// HashPassword returns the hash of a new password, in the turn of who.
	HashPassword(ctx context.Context, who string, password []byte, from netip.Addr) (string, error)
	// SignIn returns the account that a uid and a password are for.
	SignIn(ctx context.Context, uid string, password []byte, from netip.Addr) (iam.Identity, error)
	// SignInService returns the service account that has signed token.
	SignInService(ctx context.Context, uid, token string, from netip.Addr) (iam.Identity, error)
}

// Tokens makes tokens for accounts.
type Tokens interface {
	// Issue returns a token that ends at until or earlier; zero is as late as
	// possible.
	Issue(ctx context.Context, who iam.Identity, until time.Time) (raw string, expires time.Time, err error)
	// JWKS returns the public keys of the tokens, as a JSON document.
	JWKS() ([]byte, error)
	// RotateKey makes a new key that signs tokens. tokens.ErrTooManyKeys.
	RotateKey(ctx context.Context) error
}

// Handlers answer the requests. They have many methods because each endpoint of DC/OS
// has one; these share no state, and are in files by subject.
type Handlers struct {
	Accounts Accounts
	Tokens   Tokens // if nil, no one can sign in
	Policy   func() *acl.Policy
	OIDC     OIDC // nil without providers
	// StartSession returns the cookie with which a browser has a session of the pages,
	// and the page that it goes to, relative to the first: the one that was wanted or "".
	// nil: there are no pages.
	StartSession func(r *http.Request, token, wanted string) (cookie, page string, err error)
	// Secure: browsers send the cookies over HTTPS alone.
	Secure bool
}

// Call is one request.
type Call struct {
	Target
	Principal acl.Principal
	// Own: the caller may do this with its own account, and is not a superuser.
	Own     bool
	Query   url.Values
	Limit   int // of a page; 0: all
	After   string
	Body    []byte
	State   string // the cookie of a flow, see StateCookie
	Browser bool   // the client takes HTML
	Remote  netip.Addr
	// Request is for StartSession. All else that is asked is above.
	Request *http.Request
	// Change makes a change to the IAM: it bounds its time and notes its effect.
	Change func(func(context.Context) error) error

	// About is what the audit log calls the object of the request, if the path
	// does not say it.
	About string
	// SignedIn is the account that a sign-in has found.
	SignedIn iam.UID
}

func (c *Call) origin() iam.Origin {
	return iam.Origin{By: iam.UID(c.Principal.UID), At: time.Now().UTC()}
}

// change writes what f makes of the directory, and answers with a status and no
// body.
func (h *Handlers) change(c *Call, status int, f func(*iam.Directory) (iam.Change, error)) (answer.Reply, error) {
	err := c.Change(func(ctx context.Context) error { return h.Accounts.Change(ctx, f) })
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Empty(status)
}

// document is a success with a document in the form of DC/OS: indented, with a line
// break at the end.
func document(v any) (answer.Reply, error) {
	body, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		return answer.Reply{}, fmt.Errorf("encode the answer: %w", err)
	}
	return answer.Reply{Status: http.StatusOK, ContentType: wire.TypeIAM, Body: append(body, '\n')}, nil
}

// page returns one page of what is ordered by id, and the id of its last entry if
// there are more.
func page[T any](c *Call, all []T, id func(T) string) (some []T, next string) {
	if c.After != "" {
		start, found := slices.BinarySearchFunc(all, c.After, func(v T, after string) int { return strings.Compare(id(v), after) })
		if found {
			start++
		}
		all = all[start:]
	}
	if c.Limit == 0 || len(all) <= c.Limit {
		return all, ""
	}
	return all[:c.Limit], id(all[c.Limit-1])
}

// each converts a list. It is never nil.
func each[T, U any](all []T, convert func(T) U) []U {
	out := make([]U, 0, len(all))
	for _, v := range all {
		out = append(out, convert(v))
	}
	return out
}

// errNoTokens is the answer of a server that makes none.
var errNoTokens = &problem.Problem{Status: http.StatusServiceUnavailable, Text: textNoTokens}

// signInProblem is the answer for an error of a sign-in.
func signInProblem(err error) error {
	var many *authority.TooMany
	var busy *authority.Busy
	switch {
	case errors.Is(err, authority.ErrCredentials):
		return &problem.Problem{Status: http.StatusUnauthorized, Code: codeCredentials, Text: textCredentials}
	case errors.As(err, &many):
		return &problem.Problem{Status: http.StatusTooManyRequests, Retry: true, RetryAfter: many.RetryAfter, Text: textAttempts}
	case errors.As(err, &busy):
		return &problem.Problem{Status: http.StatusServiceUnavailable, Retry: true, RetryAfter: busy.RetryAfter, Text: textBusy}
	}
	return err
}

const (
	codeCredentials = "ERR_INVALID_CREDENTIALS"
	textCredentials = "Invalid credentials."
	textAttempts    = "too many failed sign-ins of this account or from this address: wait as long as Retry-After says"
	textNoTokens    = "this server makes no tokens"
	textBusy        = "too many sign-ins at once: try again as Retry-After says"
)
