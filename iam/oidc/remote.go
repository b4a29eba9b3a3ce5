package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

const (
	// callTimeout bounds one request to a provider.
	callTimeout = 10 * time.Second
	// cacheLife is how long the documents of a provider are good.
	cacheLife = time.Hour
	// keysPause is the least time between two looks at the keys, failurePause
	// between two after a failure: strangers cause no more requests than that.
	keysPause    = 10 * time.Second
	failurePause = 5 * time.Second

	maxAnswer    = 256 << 10 // bytes of one answer
	maxKeys      = 32
	maxExchanges = 8 // at once
	maxToken     = 16 << 10
)

// Unavailable says that a provider cannot be asked now. Cause is not for clients.
type Unavailable struct {
	Provider string
	Cause    error
}

func (e *Unavailable) Error() string {
	return fmt.Sprintf("the OpenID Connect provider `%s` is not available: try again later, or sign in with a local account", e.Provider)
}

// Unwrap returns the cause.
func (e *Unavailable) Unwrap() error { return e.Cause }

var (
	errBusy     = errors.New("too many sign-ins with the provider at once")
	errRedirect = errors.New("the provider answers with a redirection")
	errKeys     = errors.New("the provider has no usable keys, or too many")
	errDocument = errors.New("the discovery document of the provider has an address that is not https, or lacks one")
)

// remote speaks with one provider. It keeps the documents of the provider for a
// while, and asks for each at most once at a time.
type remote struct {
	p      *Provider
	record []byte // p is made from
	client *http.Client
	now    func() time.Time

	exchanges chan struct{} // holds a value for each that is under way
	turn      chan struct{} // holds a value while a document is fetched

	mu       sync.Mutex // guards the rest, which is replaced and not changed
	metadata cached[*metadata]
	keys     cached[[]crypto.PublicKey]
}

// cached is what was fetched, or why it could not be.
type cached[T any] struct {
	value T
	err   error
	at    time.Time // zero: never
}

// fresh reports whether c is still good.
func (c *cached[T]) fresh(now time.Time) bool {
	life := cacheLife
	if c.err != nil {
		life = failurePause
	}
	return !c.at.IsZero() && now.Sub(c.at) < life
}

// metadata is what counts of the discovery document.
type metadata struct {
	endpoint  oauth2.Endpoint
	keysURL   string
	namesSelf bool // its answers to browsers name the issuer
	groups    bool // it knows the scope groups
}

func newRemote(p *Provider, record []byte, now func() time.Time) (*remote, error) {
	roots, err := p.roots()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: callTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    callTimeout,
		ResponseHeaderTimeout:  callTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           2,
		MaxConnsPerHost:        maxExchanges + 2,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
	}
	plain := p.Issuer[:5] == "http:" // checked: on a loopback address
	return &remote{
		p: p, record: record, now: now,
		client: &http.Client{
			Transport:     &guarded{transport, plain},
			CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
			Timeout:       callTimeout,
		},
		exchanges: make(chan struct{}, maxExchanges),
		turn:      make(chan struct{}, 1),
	}, nil
}

func (r *remote) close() { r.client.CloseIdleConnections() }

// guarded bounds the answers of a provider, and the addresses that it sends this
// server to.
type guarded struct {
	*http.Transport
	plain bool // plain HTTP to a loopback address is allowed
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r.URL); err != nil {
		return nil, err
	}
	answer, err := g.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}

func (g *guarded) check(u *url.URL) error {
	if u.Scheme != "https" && !g.plain {
		return errNotHTTPS
	}
	return checkHTTPS(u)
}

// unavailable is the error for a cause.
func (r *remote) unavailable(cause error) error { return &Unavailable{r.p.ID, cause} }

// get returns what c holds, fetched again if it is older than its life, or was
// fetched before since.
func get[T any](ctx context.Context, r *remote, c *cached[T], since time.Time, fetch func(context.Context) (T, error)) (T, error) {
	known := func() (cached[T], bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return *c, c.fresh(r.now()) && !c.at.Before(since)
	}
	if have, ok := known(); ok {
		return have.value, have.err
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	if have, ok := known(); ok { // somebody else has fetched it
		return have.value, have.err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	value, err := fetch(oidc.ClientContext(ctx, r.client))
	if err != nil {
		err = r.unavailable(err)
		if errors.Is(ctx.Err(), context.Canceled) { // by the client: it says nothing about the provider
			return value, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*c = cached[T]{value, err, r.now()}
	return value, err
}

// discover returns the discovery document. *Unavailable.
func (r *remote) discover(ctx context.Context) (*metadata, error) {
	return get(ctx, r, &r.metadata, time.Time{}, func(ctx context.Context) (*metadata, error) {
		found, err := oidc.NewProvider(ctx, r.p.Issuer) // it compares the issuer
		if err != nil {
			return nil, err
		}
		var more struct {
			JWKSURI   string   `json:"jwks_uri"`
			Methods   []string `json:"token_endpoint_auth_methods_supported"`
			Scopes    []string `json:"scopes_supported"`
			NamesSelf bool     `json:"authorization_response_iss_parameter_supported"`
		}
		if err := found.Claims(&more); err != nil {
			return nil, err
		}
		m := &metadata{found.Endpoint(), more.JWKSURI, more.NamesSelf, slices.Contains(more.Scopes, "groups")}
		m.endpoint.AuthStyle = oauth2.AuthStyleInHeader // the default of OpenID Connect
		if slices.Contains(more.Methods, "client_secret_post") {
			m.endpoint.AuthStyle = oauth2.AuthStyleInParams
		}
		for _, s := range []string{m.endpoint.AuthURL, m.endpoint.TokenURL, m.keysURL} {
			u, err := url.Parse(s)
			if err != nil || !printable(s, maxURL) || u.Hostname() == "" || u.User != nil || r.client.Transport.(*guarded).check(u) != nil {
				return nil, errDocument
			}
		}
		return m, nil
	})
}

// verifyKeys returns the keys that the provider signs with, as they were at since or
// later. *Unavailable.
func (r *remote) verifyKeys(ctx context.Context, since time.Time) ([]crypto.PublicKey, error) {
	m, err := r.discover(ctx)
	if err != nil {
		return nil, err
	}
	return get(ctx, r, &r.keys, since, func(ctx context.Context) ([]crypto.PublicKey, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.keysURL, nil)
		if err != nil {
			return nil, err
		}
		answer, err := r.client.Do(req)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the keys of the provider: status %d", answer.StatusCode)
		}
		return parseKeys(body)
	})
}

// parseKeys returns the public keys of a key set that can verify signatures. Others
// are left out.
func parseKeys(body []byte) ([]crypto.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) > maxKeys {
		return nil, errKeys
	}
	var keys []crypto.PublicKey
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) != nil || !k.IsPublic() || k.Use == "enc" {
			continue
		}
		switch key := k.Key.(type) {
		case *rsa.PublicKey:
			if n := key.N.BitLen(); n < 2048 || n > 8192 || key.E > 1<<31-1 {
				continue // a large one makes each sign-in expensive
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue
		}
		keys = append(keys, k.Key)
	}
	if len(keys) == 0 {
		return nil, errKeys
	}
	return keys, nil
}

// signatures verifies the signature of one token. It remembers why that was not
// possible, which the verifier does not pass on.
type signatures struct {
	remote *remote
	err    error
}

// VerifySignature implements oidc.KeySet. Keys that are not known yet may have been
// added since the last look.
func (s *signatures) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	var since time.Time
	for {
		keys, err := s.remote.verifyKeys(ctx, since)
		if err != nil {
			s.err = err
			return nil, err
		}
		payload, err := (&oidc.StaticKeySet{PublicKeys: keys}).VerifySignature(ctx, token)
		if err == nil || !since.IsZero() {
			return payload, err
		}
		since = s.remote.now().Add(-keysPause)
	}
}

// algorithms are those that a provider may sign with: only ones with a public key.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// verify returns what an ID token says, and its nonce. *Refused, *Unavailable.
func (r *remote) verify(ctx context.Context, raw string) (c Claims, nonce string, err error) {
	if len(raw) > maxToken {
		return Claims{}, "", &Refused{textBadToken}
	}
	keys := &signatures{remote: r}
	v := oidc.NewVerifier(r.p.Issuer, keys, &oidc.Config{ClientID: r.p.ClientID, SupportedSigningAlgs: algorithms, Now: r.now})
	token, err := v.Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case keys.err != nil:
		return Claims{}, "", keys.err
	case errors.As(err, &expired):
		return Claims{}, "", &Refused{textExpired}
	case err != nil:
		return Claims{}, "", &Refused{textBadToken}
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return Claims{}, "", &Refused{textBadToken}
	}
	c, err = r.p.claims(payload)
	if err != nil || c.Issuer != token.Issuer || c.Subject != token.Subject {
		return Claims{}, "", &Refused{textBadToken}
	}
	return c, token.Nonce, nil
}

// config is how the flow is run.
func (r *remote) config(m *metadata) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: r.p.ClientID, ClientSecret: string(r.p.ClientSecret), Endpoint: m.endpoint,
		RedirectURL: r.p.BaseURL + CallbackPath, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile},
	}
	if m.groups && len(r.p.GroupsClaim) > 0 {
		c.Scopes = append(c.Scopes, "groups")
	}
	return c
}

// exchange returns the ID token for a code. *Refused, *Unavailable.
func (r *remote) exchange(ctx context.Context, m *metadata, code, verifier string) (string, error) {
	select {
	case r.exchanges <- struct{}{}:
		defer func() { <-r.exchanges }()
	default:
		return "", r.unavailable(errBusy)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	token, err := r.config(m).Exchange(oidc.ClientContext(ctx, r.client), code, oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return "", &Refused{textRefused}
	case errors.As(err, &refused):
		// Its text has the answer of the provider, which may hold anything.
		return "", r.unavailable(fmt.Errorf("the provider answers a code with status %d", refused.Response.StatusCode))
	case err != nil:
		return "", r.unavailable(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", &Refused{textBadToken}
	}
	return raw, nil
}
