package acs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/tokens"
)

const (
	textOneOf    = "Exactly one of `token` and `password` must be provided in the request body"
	textNoUID    = "`uid` missing in the request body"
	textEmpty    = "`uid` and `password` must not be empty strings"
	textProvider = "Expected query parameter `oidc-provider` or `saml-provider`."
)

// checkLogin has the rules for the members of a login, in the order of DC/OS.
func checkLogin(doc *wire.Login) error {
	switch {
	case (doc.Password == nil) == (doc.Token == nil):
		return problem.BadRequest(textOneOf)
	case doc.Password != nil && doc.UID == nil:
		return problem.BadRequest(textNoUID)
	case doc.Password != nil && len(doc.Password) == 0, doc.UID != nil && *doc.UID == "":
		return problem.BadRequest(textEmpty)
	}
	return nil
}

// SignIn answers with a token, in the document and as a cookie.
func (h *Handlers) SignIn(ctx context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeLogin(c.Body)
	defer clear(doc.Password)
	defer clear(doc.Token)
	if err != nil {
		return answer.Reply{}, err
	}
	if err := checkLogin(&doc); err != nil {
		return answer.Reply{}, err
	}
	if h.Tokens == nil {
		return answer.Reply{}, errNoTokens
	}
	if doc.UID == nil {
		return h.signInWithIDToken(ctx, c, doc.Token)
	}
	known := h.known()
	u, unknown := known.User(iam.UID(*doc.UID))
	if unknown == nil {
		// Others are not named in the audit log: people type passwords there.
		c.About = "users/" + string(u.UID)
	}
	var who iam.Identity
	var until time.Time
	if doc.Password != nil {
		who, err = h.Accounts.SignIn(ctx, *doc.UID, doc.Password, c.Remote)
	} else {
		who, err = h.Accounts.SignInService(ctx, *doc.UID, string(doc.Token), c.Remote)
		if doc.Exp != nil && *doc.Exp != 0 {
			until = time.Unix(*doc.Exp, 0)
		}
	}
	if err != nil {
		return answer.Reply{}, signInProblem(err)
	}
	return h.signedIn(ctx, c, who, until, known)
}

// signedIn answers with a token for who.
func (h *Handlers) signedIn(ctx context.Context, c *Call, who iam.Identity, until time.Time, known *iam.Directory) (answer.Reply, error) {
	raw, expires, err := h.issue(ctx, who, until)
	if err != nil {
		return answer.Reply{}, err
	}
	c.SignedIn = who.UID
	rep, err := document(wire.AuthToken{Token: raw})
	if err != nil {
		return answer.Reply{}, err
	}
	rep.Values = true
	rep.Cookies, err = h.cookies(token{who.UID, raw, expires}, known)
	return rep, err
}

// issue makes a token. An account that has changed since the sign-in gets none.
func (h *Handlers) issue(ctx context.Context, who iam.Identity, until time.Time) (raw string, expires time.Time, err error) {
	raw, expires, err = h.Tokens.Issue(ctx, who, until)
	if errors.Is(err, tokens.ErrStale) {
		err = signInProblem(authority.ErrCredentials)
	}
	return raw, expires, err
}

// token is a token of an account.
type token struct {
	uid     iam.UID
	raw     string
	expires time.Time
}

// known is the directory, or what is left of it while the store is sealed.
func (h *Handlers) known() *iam.Directory {
	if d, err := h.Accounts.Directory(); err == nil {
		return d
	}
	return h.Accounts.Known()
}

// info is what the pages of a server may know of who has signed in.
type info struct {
	UID         string `json:"uid"`
	Description string `json:"description"`
	IsRemote    bool   `json:"is_remote"`
}

// maxInfo bounds the description in a cookie, in bytes: browsers drop cookies above
// 4 KiB.
const maxInfo = 256

// cookies returns the two cookies of a sign-in. They end a little before the token.
func (h *Handlers) cookies(t token, d *iam.Directory) ([]string, error) {
	about := info{UID: string(t.uid)}
	if u, err := d.User(t.uid); err == nil {
		about.Description, about.IsRemote = u.Description, u.IsRemote()
	}
	if len(about.Description) > maxInfo {
		about.Description = about.Description[:maxInfo] + "…"
	}
	text, err := json.Marshal(about, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("encode a cookie: %w", err)
	}
	// Pages decode it with atob, which knows neither UTF-8 nor the URL-safe form.
	shown := base64.StdEncoding.EncodeToString(appendASCII(nil, string(text)))
	age := time.Until(t.expires).Seconds() * cookiePart
	return []string{
		fmt.Sprintf("%s=%s; HttpOnly; Max-Age=%d; Path=/%s", wire.TokenCookie, t.raw, int(age), h.cookieEnd()),
		fmt.Sprintf("%s=%s; Max-Age=%d; Path=/%s", wire.InfoCookie, shown, int(age), h.cookieEnd()),
	}, nil
}

// cookiePart is how much of the life of a token its cookie has.
const cookiePart = 0.95

// cookieEnd are the attributes that DC/OS does not have: no other site makes a
// browser send the token.
func (h *Handlers) cookieEnd() string {
	if h.Secure {
		return "; SameSite=Lax; Secure"
	}
	return "; SameSite=Lax"
}

// appendASCII appends JSON with all but ASCII as \u escapes.
func appendASCII(b []byte, text string) []byte {
	for _, r := range text {
		if r < 0x80 {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
	}
	return b
}

// SignOut drops the cookie with the token. The token stays good.
func (h *Handlers) SignOut(context.Context, *Call) (answer.Reply, error) {
	// Clients compare the date, and the name of the attribute in lower case.
	cookie := wire.TokenCookie + "=; expires=Sat, 01 Jan 2000 00:00:00 GMT; HttpOnly; Path=/" + h.cookieEnd()
	return answer.Reply{Status: http.StatusOK, Cookies: []string{cookie}}, nil
}

// RotateKey makes a new key that signs tokens.
func (h *Handlers) RotateKey(_ context.Context, c *Call) (answer.Reply, error) {
	if h.Tokens == nil {
		return answer.Reply{}, errNoTokens
	}
	err := c.Change(h.Tokens.RotateKey)
	if errors.Is(err, tokens.ErrTooManyKeys) {
		err = &problem.Problem{Status: http.StatusConflict, Text: tokens.ErrTooManyKeys.Error()}
	}
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Empty(http.StatusNoContent)
}

// ShowJWKS answers with the public keys of the tokens.
func (h *Handlers) ShowJWKS(context.Context, *Call) (answer.Reply, error) {
	if h.Tokens == nil {
		return answer.Reply{}, errNoTokens
	}
	keys, err := h.Tokens.JWKS()
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Reply{Status: http.StatusOK, ContentType: wire.TypeIAM, Body: keys}, nil
}

// ListProviders answers with the ways to sign in.
func (h *Handlers) ListProviders(context.Context, *Call) (answer.Reply, error) {
	const description = "Default DC/OS login provider"
	flow := map[string]string{"start_flow_url": Login}
	all := map[string]wire.LoginProvider{
		"dcos-users": {AuthenticationType: "dcos-uid-password", ClientMethod: "dcos-usercredential-post-receive-authtoken",
			Config: flow, Description: description},
		"dcos-services": {AuthenticationType: "dcos-uid-servicekey", ClientMethod: "dcos-servicecredential-post-receive-authtoken",
			Config: flow, Description: description},
	}
	h.addProviders(all)
	return document(all)
}

// ShowBuildInfo answers the question of a command line whether it is signed in. This
// server has no packages to tell about.
func (h *Handlers) ShowBuildInfo(context.Context, *Call) (answer.Reply, error) {
	return document(struct{}{})
}
