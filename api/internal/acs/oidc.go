package acs

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/oidc"
)

// OIDC signs people in with OpenID Connect providers. Its errors are those of
// package oidc.
type OIDC interface {
	// Providers returns the providers, ordered by id.
	Providers() ([]*oidc.Provider, error)
	Provider(id string) (*oidc.Provider, error)
	Create(ctx context.Context, id string, c *oidc.Change, by iam.Origin) error
	Update(ctx context.Context, id string, c *oidc.Change) error
	Delete(ctx context.Context, id string) error
	// Start begins a sign-in: the browser goes to where, and keeps cookie.
	Start(ctx context.Context, id string, target oidc.Target) (where, cookie string, err error)
	// Finish ends a sign-in: the browser goes to its target.
	Finish(ctx context.Context, cookie string, a oidc.Answer, from netip.Addr) (oidc.Finished, error)
	// Exchange returns who the code of a program is for.
	Exchange(code, verifier string) (iam.Identity, error)
	// SignIn signs somebody in with an ID token.
	SignIn(ctx context.Context, raw string, from netip.Addr) (iam.Identity, error)
}

const (
	// StateCookie is the name of the cookie that a browser keeps while it signs in.
	StateCookie = "secretstore-oidc-state"
	// MaxProviderBody bounds the body of a provider, in bytes.
	MaxProviderBody = 256 << 10

	stateAge = 10 * time.Minute

	textNoProviders = "this server has no OpenID Connect providers"
)

var errNoProviders = &problem.Problem{Status: http.StatusBadRequest, Code: string(iam.InvalidProvider), Text: textNoProviders}

// oidcProblem is the answer for an error of package oidc.
func oidcProblem(err error) error {
	var refused *oidc.Refused
	var away *oidc.Unavailable
	switch {
	case errors.As(err, &refused):
		return problem.Unauthorized(refused.Text)
	case errors.As(err, &away):
		return &problem.Problem{Status: http.StatusServiceUnavailable, Text: away.Error(), Retry: true}
	case errors.Is(err, oidc.ErrTarget):
		return problem.BadRequest(oidc.ErrTarget.Error())
	}
	return signInProblem(err)
}

// ListOIDC answers with the descriptions of the providers, by id.
func (h *Handlers) ListOIDC(context.Context, *Call) (answer.Reply, error) {
	names := make(map[string]string)
	if h.OIDC != nil {
		all, err := h.OIDC.Providers()
		if err != nil {
			return answer.Reply{}, err
		}
		for _, p := range all {
			names[p.ID] = p.Description
		}
	}
	return document(names)
}

// ShowOIDC answers with a provider. Its client secret is not shown.
func (h *Handlers) ShowOIDC(_ context.Context, c *Call) (answer.Reply, error) {
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	p, err := h.OIDC.Provider(c.Provider)
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.OIDCProvider{
		Description: p.Description, Issuer: p.Issuer, BaseURL: p.BaseURL, ClientID: p.ClientID, ClientSecret: oidc.Hidden,
		VerifyServer: true, CACerts: p.CACerts, GroupsClaim: p.GroupsClaim,
	}
	if len(p.Groups) > 0 {
		doc.Groups = make(map[string]string, len(p.Groups))
		for value, gid := range p.Groups {
			doc.Groups[value] = string(gid)
		}
	}
	return document(doc)
}

func decodeProvider(body []byte) (*oidc.Change, error) {
	var c oidc.Change
	var secret wire.Password
	err := decode(body, false, optionalText("description", &c.Description), optionalText("issuer", &c.Issuer), optionalText("base_url", &c.BaseURL),
		optionalText("client_id", &c.ClientID), credential("client_secret", &secret), optional("verify_server_certificate", "of type 'boolean'", &c.VerifyServer),
		optionalText("ca_certs", &c.CACerts), optional("groups_claim", "a list of strings", &c.GroupsClaim), optional("groups", "an object of strings", &c.Groups))
	c.ClientSecret = secret
	return &c, err
}

// CreateOIDC makes a provider.
func (h *Handlers) CreateOIDC(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeOIDC(c, http.StatusCreated, func(ctx context.Context, change *oidc.Change) error {
		return h.OIDC.Create(ctx, c.Provider, change, c.origin())
	})
}

// UpdateOIDC changes the members of a provider that are given.
func (h *Handlers) UpdateOIDC(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeOIDC(c, http.StatusNoContent, func(ctx context.Context, change *oidc.Change) error {
		return h.OIDC.Update(ctx, c.Provider, change)
	})
}

func (h *Handlers) changeOIDC(c *Call, status int, write func(context.Context, *oidc.Change) error) (answer.Reply, error) {
	change, err := decodeProvider(c.Body)
	defer clear(change.ClientSecret)
	if err != nil {
		return answer.Reply{}, err
	}
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	if err := c.Change(func(ctx context.Context) error { return write(ctx, change) }); err != nil {
		return answer.Reply{}, err
	}
	return answer.Empty(status)
}

// DeleteOIDC deletes a provider.
func (h *Handlers) DeleteOIDC(_ context.Context, c *Call) (answer.Reply, error) {
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	if err := c.Change(func(ctx context.Context) error { return h.OIDC.Delete(ctx, c.Provider) }); err != nil {
		return answer.Reply{}, err
	}
	return answer.Empty(http.StatusNoContent)
}

// addProviders adds the ways to sign in with a provider. There are none while the
// store is sealed.
func (h *Handlers) addProviders(to map[string]wire.LoginProvider) {
	if h.OIDC == nil {
		return
	}
	all, err := h.OIDC.Providers()
	if err != nil {
		return
	}
	for _, p := range all {
		if _, taken := to[p.ID]; taken {
			continue
		}
		begin := Login + "?oidc-provider=" + p.ID
		config := map[string]string{"start_flow_url": begin + "&target=" + oidc.ShowToken, "loopback_flow_url": begin}
		if h.StartSession != nil {
			config[wire.StartSession] = begin + "&target=" + oidc.Pages
		}
		to[p.ID] = wire.LoginProvider{AuthenticationType: "oidc-authorization-code-flow", ClientMethod: "browser-prompt-authtoken",
			Config: config, Description: p.Description}
	}
}

// signInWithIDToken answers with a token for whom an ID token is for.
func (h *Handlers) signInWithIDToken(ctx context.Context, c *Call, raw []byte) (answer.Reply, error) {
	if h.OIDC == nil {
		return answer.Reply{}, signInProblem(authority.ErrCredentials)
	}
	var who iam.Identity
	err := c.Change(func(ctx context.Context) (err error) {
		who, err = h.OIDC.SignIn(ctx, string(raw), c.Remote)
		return err
	})
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	return h.signedIn(ctx, c, who, time.Time{}, h.known())
}

// one is a query parameter that is given once; else "".
func one(q url.Values, name string) string {
	if len(q[name]) != 1 {
		return ""
	}
	return q[name][0]
}

// startFailed is where the pages of a cluster show why a sign-in did not begin.
const startFailed = "/?iam-error="

// StartFlow sends a browser to a provider to sign in there.
func (h *Handlers) StartFlow(ctx context.Context, c *Call) (answer.Reply, error) {
	id := one(c.Query, "oidc-provider")
	if id == "" {
		return answer.Reply{}, &problem.Problem{Status: http.StatusBadRequest, Code: codeQuery, Text: textProvider}
	}
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	target, err := oidc.ParseTarget(one(c.Query, "target"), one(c.Query, "code_challenge"))
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	if target.Place == oidc.Pages && h.StartSession == nil {
		return answer.Reply{}, oidcProblem(oidc.ErrTarget)
	}
	p, err := h.OIDC.Provider(id)
	if unknown := (*iam.Error)(nil); errors.As(err, &unknown) && c.Browser {
		return answer.Reply{Status: http.StatusSeeOther, Location: startFailed + url.QueryEscape(unknown.Text)}, nil
	}
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	where, cookie, err := h.OIDC.Start(ctx, id, target)
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	return answer.Reply{Status: http.StatusSeeOther, Location: where, Cookies: []string{h.stateCookie(p, cookie, stateAge)}}, nil
}

// stateCookie is Lax: the provider sends the browser here with a link. The path is as
// the browser sees it: a proxy may strip a prefix.
func (h *Handlers) stateCookie(p *oidc.Provider, value string, age time.Duration) string {
	c := http.Cookie{Name: StateCookie, Value: value, Path: p.CallbackPath(), MaxAge: int(age.Seconds()), HttpOnly: true, Secure: h.Secure, SameSite: http.SameSiteLaxMode}
	if age == 0 {
		c.MaxAge = -1
	}
	return c.String()
}

// FinishFlow ends a sign-in in a browser: with cookies, or with a page that shows the
// token.
func (h *Handlers) FinishFlow(ctx context.Context, c *Call) (answer.Reply, error) {
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	if h.Tokens == nil {
		return answer.Reply{}, errNoTokens
	}
	var done oidc.Finished
	err := c.Change(func(ctx context.Context) (err error) {
		done, err = h.OIDC.Finish(ctx, c.State, oidc.ReadAnswer(c.Query), c.Remote)
		return err
	})
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	used := h.stateCookie(done.Provider, "", 0)
	if done.Code != "" {
		c.SignedIn = done.Who.UID
		link := done.Target.Place + "?" + url.Values{"code": {done.Code}}.Encode()
		return lastPage(confirmPage, confirmation{string(done.Who.UID), link}, used)
	}
	raw, expires, err := h.issue(ctx, done.Who, time.Time{})
	if err != nil {
		return answer.Reply{}, err
	}
	c.SignedIn = done.Who.UID
	if done.Target.Place == oidc.ShowToken {
		return lastPage(tokenPage, raw, used)
	}
	if done.Target.Place == oidc.Pages {
		if h.StartSession == nil {
			return answer.Reply{}, oidcProblem(oidc.ErrTarget)
		}
		cookie, page, err := h.StartSession(c.Request, raw, done.Target.Page)
		if err != nil {
			return answer.Reply{}, err
		}
		return lastPage(continuePage, "../../../../../ui/"+page, used, cookie)
	}
	cookies, err := h.cookies(token{done.Who.UID, raw, expires}, h.known())
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Reply{Status: http.StatusSeeOther, Location: done.Target.Place, Cookies: append(cookies, used)}, nil
}

// Exchange answers with a token for the code that a program got from a browser.
func (h *Handlers) Exchange(ctx context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeExchange(c.Body)
	defer clear(doc.Verifier)
	if err != nil {
		return answer.Reply{}, err
	}
	if h.OIDC == nil {
		return answer.Reply{}, errNoProviders
	}
	if h.Tokens == nil {
		return answer.Reply{}, errNoTokens
	}
	who, err := h.OIDC.Exchange(doc.Code, string(doc.Verifier))
	if err != nil {
		return answer.Reply{}, oidcProblem(err)
	}
	rep, err := h.signedIn(ctx, c, who, time.Time{}, h.known())
	rep.Cookies = nil // programs keep the token in their own way
	return rep, err
}

// lastPage is what a browser shows at the end of a sign-in.
func lastPage(t *template.Template, data any, cookies ...string) (answer.Reply, error) {
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return answer.Reply{}, err
	}
	return answer.Reply{Status: http.StatusOK, ContentType: "text/html; charset=utf-8", Policy: pagePolicy, Cookies: cookies, Body: text.Bytes(), Values: true}, nil
}

// pagePolicy lets a page load and run nothing, and keeps it out of frames.
const pagePolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var tokenPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Signed in</title></head>
<body><p>You have signed in. Copy this token and paste it into the command line:</p>
<pre>{{.}}</pre>
<p>It is as good as your password. Close this page then.</p></body></html>
`))

// confirmation is what somebody who is in a browser is asked: a site could have
// sent the browser here.
type confirmation struct{ UID, Link string }

var confirmPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in the command line</title></head>
<body><p>A command line on this computer wants to sign in as <b>{{.UID}}</b>.</p>
<p>If you have just typed <code>secretstore login --oidc</code>, go on within a minute:</p>
<p><a rel="noreferrer" href="{{.Link}}">Sign in the command line</a></p>
<p>If not, close this page. If the command line is on another computer, close it too, and type
<code>secretstore login --oidc --paste</code> there.</p></body></html>
`))

// continuePage goes on to the pages by itself. A redirect would not do: browsers send
// the cookie of a session only to requests that a page of this server makes. The
// address is relative to that of [OIDCCallback].
var continuePage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="0; url={{.}}"><title>Signed in</title></head>
<body><p>You have signed in. <a href="{{.}}">Continue to the Secret Store</a></p></body></html>
`))
