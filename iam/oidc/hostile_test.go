package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/iamtest"
	"secretstore/iam/oidc"
)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var addresses atomic.Uint32

// elsewhere returns the address of a client that has not been seen yet.
func elsewhere() netip.Addr {
	n := addresses.Add(1)
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// provider is a provider whose documents a test makes.
type provider struct {
	*httptest.Server
	keyRequests   atomic.Int64
	tokenRequests atomic.Int64
	discovery     func(http.ResponseWriter)
	keys          func(http.ResponseWriter)
	token         func(http.ResponseWriter)
}

func jwk(k *rsa.PublicKey) map[string]any {
	return map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", "n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())}
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// document is a discovery document that is as it should be, but for more.
func (p *provider) document(more map[string]any) map[string]any {
	d := map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys"}
	maps.Copy(d, more)
	return d
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.discovery = func(w http.ResponseWriter) { send(w, p.document(nil)) }
	p.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": []any{jwk(&signingKey().PublicKey)}}) }
	p.token = func(w http.ResponseWriter) { send(w, map[string]any{"access_token": "x", "token_type": "bearer"}) }
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { p.discovery(w) })
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { p.keyRequests.Add(1); p.keys(w) })
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) { p.tokenRequests.Add(1); p.token(w) })
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) change() *oidc.Change {
	return &oidc.Change{Description: ptr(""), Issuer: ptr(p.URL), BaseURL: ptr("https://cluster.example"), ClientID: ptr("me"), ClientSecret: []byte("s")}
}

func (p *provider) claims(more jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": p.URL, "sub": "1", "aud": "me", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "email": "ann@example.com", "email_verified": true}
	maps.Copy(c, more)
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	token.Header["kid"] = "k"
	raw, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOnlyAnIDTokenOfTheProviderForThisClientSignsIn(t *testing.T) {
	p := newProvider(t)
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	rs := func(more jwt.MapClaims) string { return sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(more)) }
	without := func(name string) string {
		c := p.claims(nil)
		delete(c, name)
		return sign(t, jwt.SigningMethodRS256, signingKey(), c)
	}
	if who, err := s.SignIn(t.Context(), rs(nil), elsewhere()); err != nil || who.UID != "ann@example.com" {
		t.Fatal(who, err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	asSecret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	const failed = "OpenID Connect ID Token login failed: "
	for name, try := range map[string]struct{ raw, want string }{
		"alg none":                {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, p.claims(nil)), "bad token"},
		"HS256 with a public key": {sign(t, jwt.SigningMethodHS256, asSecret, p.claims(nil)), "bad token"},
		"another key":             {sign(t, jwt.SigningMethodRS256, other, p.claims(nil)), "bad token"},
		"another issuer":          {rs(jwt.MapClaims{"iss": "https://evil.example"}), "bad token"},
		"for another client":      {rs(jwt.MapClaims{"aud": "other"}), "bad token"},
		"for two, of another":     {rs(jwt.MapClaims{"aud": []string{"me", "other"}, "azp": "other"}), "bad token"},
		"expired":                 {rs(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), "token expired"},
		"not yet valid":           {rs(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), "bad token"},
		"no sub":                  {without("sub"), "bad token"},
		"no iat":                  {without("iat"), "bad token"},
		"no exp":                  {without("exp"), "token expired"},
		"no aud":                  {without("aud"), "bad token"},
		"no email":                {without("email"), "ID Token lacks non-standard claim: email"},
		"no email_verified":       {without("email_verified"), "ID Token must have `\"email_verified\": true` claim"},
		"email_verified as text":  {rs(jwt.MapClaims{"email_verified": "true"}), "ID Token must have `\"email_verified\": true` claim"},
		"a megabyte":              {rs(jwt.MapClaims{"x": strings.Repeat("x", 1<<20)}), "bad token"},
		"empty":                   {"", "bad token"},
		"dots":                    {"..", "bad token"},
	} {
		_, err := s.SignIn(t.Context(), try.raw, elsewhere())
		var refusal *oidc.Refused
		if !errors.As(err, &refusal) || refusal.Text != failed+try.want {
			t.Errorf("%s: %v, not %s", name, err, try.want)
		}
	}
	if n := p.keyRequests.Load(); n > 2 {
		t.Errorf("strangers caused %d requests for keys", n)
	}
}

func TestNewKeysOfAProviderAreFoundAfterAPause(t *testing.T) {
	p := newProvider(t)
	clock := newClock()
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, clock)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	next, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw := sign(t, jwt.SigningMethodRS256, next, p.claims(nil))
	for range 20 {
		_, err = s.SignIn(t.Context(), raw, elsewhere())
		refused(t, "a key that is not announced", err)
	}
	if n := p.keyRequests.Load(); n != 1 {
		t.Errorf("%d requests for keys", n)
	}
	p.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": []any{jwk(&next.PublicKey)}}) }
	clock.add(oidc.KeysPause + time.Second)
	if who, err := s.SignIn(t.Context(), raw, elsewhere()); err != nil || who.UID != "ann@example.com" {
		t.Error(who, err)
	}
	_, err = s.SignIn(t.Context(), sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(nil)), elsewhere())
	refused(t, "a key that is withdrawn", err)
}

func TestHostileProviderIsUnavailableAndCostsLittle(t *testing.T) {
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { t.Error("a redirection was followed") }))
	t.Cleanup(trap.Close)
	many := func(n int) []any {
		all := make([]any, n)
		for i := range all {
			all[i] = jwk(&signingKey().PublicKey)
		}
		return all
	}
	for name, edit := range map[string]func(*provider){
		"huge discovery": func(p *provider) { p.discovery = func(w http.ResponseWriter) { send(w, strings.Repeat("x", 4<<20)) } },
		"another issuer": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) { send(w, p.document(map[string]any{"issuer": p.URL + "/"})) }
		},
		"http elsewhere": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) { send(w, p.document(map[string]any{"jwks_uri": "http://keys.example/"})) }
		},
		"a file": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) { send(w, p.document(map[string]any{"jwks_uri": "file:///etc/passwd"})) }
		},
		"a script": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) {
				send(w, p.document(map[string]any{"authorization_endpoint": "javascript:alert(1)"}))
			}
		},
		"no keys' address": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) { send(w, p.document(map[string]any{"jwks_uri": ""})) }
		},
		"redirected": func(p *provider) {
			p.discovery = func(w http.ResponseWriter) { w.Header().Set("Location", trap.URL); w.WriteHeader(302) }
		},
		"redirected keys": func(p *provider) {
			p.keys = func(w http.ResponseWriter) { w.Header().Set("Location", trap.URL); w.WriteHeader(307) }
		},
		"huge keys": func(p *provider) {
			p.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": many(4000)}) }
		},
		"many keys": func(p *provider) { p.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": many(33)}) } },
		"no keys":   func(p *provider) { p.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": []any{}}) } },
		"symmetric keys": func(p *provider) {
			p.keys = func(w http.ResponseWriter) {
				send(w, map[string]any{"keys": []any{map[string]any{"kty": "oct", "k": "AAAA"}}})
			}
		},
		"not JSON": func(p *provider) { p.keys = func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") } },
		"an error": func(p *provider) { p.keys = func(w http.ResponseWriter) { w.WriteHeader(500) } },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			edit(p)
			var cluster iamtest.Cluster
			s := newServer(t, &cluster, anyone, nil)
			if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				_, err := s.SignIn(t.Context(), sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(nil)), elsewhere())
				var away *oidc.Unavailable
				if !errors.As(err, &away) || strings.Contains(err.Error(), "xxxx") {
					t.Fatal(err)
				}
			}
			if n := p.keyRequests.Load(); n > 1 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

func TestSlowProviderHoldsUpNobodyLongerThanTheirDeadline(t *testing.T) {
	p := newProvider(t)
	asked, release := make(chan struct{}, 16), make(chan struct{})
	p.discovery = func(w http.ResponseWriter) { asked <- struct{}{}; <-release }
	t.Cleanup(func() { close(release) })
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 8)
	for range cap(ended) {
		go func() {
			_, _, err := s.Start(ctx, "corp", oidc.Target{Place: "/"})
			ended <- err
		}()
	}
	<-asked // the others wait for their turn, and cause no request
	cancel()
	for range cap(ended) {
		if err := <-ended; err == nil {
			t.Error("a sign-in began without an answer of the provider")
		}
	}
	if n := len(asked); n > 0 {
		t.Errorf("%d more requests at the same time", n)
	}
}

func TestProviderDoesNotSignInForAnother(t *testing.T) {
	honest, hostile := newProvider(t), newProvider(t)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	hostile.keys = func(w http.ResponseWriter) { send(w, map[string]any{"keys": []any{jwk(&own.PublicKey)}}) }
	var cluster iamtest.Cluster
	rules := oidc.Rules{Reserved: anyone.Reserved}
	s := newServer(t, &cluster, rules, nil)
	for id, p := range map[string]*provider{"honest": honest, "hostile": hostile} {
		if err := s.Create(t.Context(), id, p.change(), admin); err != nil {
			t.Fatal(err)
		}
	}
	made := iam.User{UID: "ann@example.com", Provider: iam.Provider{Type: iam.OIDC, ID: "honest"}}
	if err := s.accounts.Change(t.Context(), func(d *iam.Directory) (iam.Change, error) { return d.CreateUser(made, admin) }); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"its own token":                   sign(t, jwt.SigningMethodRS256, own, hostile.claims(nil)),
		"a token of the other":            sign(t, jwt.SigningMethodRS256, own, honest.claims(nil)),
		"the other's key, its own issuer": sign(t, jwt.SigningMethodRS256, signingKey(), hostile.claims(nil)),
	} {
		_, err := s.SignIn(t.Context(), raw, elsewhere())
		refused(t, name, err)
	}

	// A sign-in with the hostile provider comes back with the token of the honest one.
	_, cookie, err := s.Start(t.Context(), "hostile", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	where, _, err := s.Start(t.Context(), "hostile", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	hostile.token = func(w http.ResponseWriter) {
		send(w, map[string]any{"access_token": "x", "token_type": "bearer", "id_token": sign(t, jwt.SigningMethodRS256, signingKey(), honest.claims(nil))})
	}
	state := where[strings.Index(where, "state=")+6:]
	_, err = s.Finish(t.Context(), cookie, oidc.Answer{Code: "c", State: state}, elsewhere())
	refused(t, "the state of another flow", err)
	if hostile.tokenRequests.Load() != 0 {
		t.Error("a code was sent for a browser that did not begin the flow")
	}
}

func TestIDTokenWithoutTheNonceOfTheFlowIsRefused(t *testing.T) {
	p := newProvider(t)
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	for nonce, good := range map[string]bool{"": false, "other": false, "right": true} {
		where, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
		if err != nil {
			t.Fatal(err)
		}
		q := query(t, where)
		more := jwt.MapClaims{}
		switch nonce {
		case "right":
			more["nonce"] = q.Get("nonce")
		case "other":
			more["nonce"] = nonce
		}
		p.token = func(w http.ResponseWriter) {
			send(w, map[string]any{"access_token": "x", "token_type": "bearer", "id_token": sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(more))})
		}
		_, err = s.Finish(t.Context(), cookie, oidc.Answer{Code: "c", State: q.Get("state")}, elsewhere())
		if good != (err == nil) {
			t.Errorf("nonce %q: %v", nonce, err)
		}
	}
	// Answers of the token endpoint that hold anything stay out of errors.
	where, cookie, _ := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	p.token = func(w http.ResponseWriter) { w.WriteHeader(500); fmt.Fprint(w, "canary-secret") }
	_, err := s.Finish(t.Context(), cookie, oidc.Answer{Code: "c", State: query(t, where).Get("state")}, elsewhere())
	var away *oidc.Unavailable
	if !errors.As(err, &away) || strings.Contains(away.Cause.Error(), "canary") {
		t.Error(err)
	}
}

func TestProviderThatNamesItselfHasToDoSo(t *testing.T) {
	p := newProvider(t)
	p.discovery = func(w http.ResponseWriter) {
		send(w, p.document(map[string]any{"authorization_response_iss_parameter_supported": true}))
	}
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	where, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, issuer := range []string{"", "https://honest.example"} {
		_, err = s.Finish(t.Context(), cookie, oidc.Answer{Code: "c", State: query(t, where).Get("state"), Issuer: issuer}, elsewhere())
		refused(t, "an answer that names "+issuer, err)
	}
	if p.tokenRequests.Load() != 0 {
		t.Error("the code was sent")
	}
}

func TestFailedSignInsWithIDTokensAreLimited(t *testing.T) {
	p := newProvider(t)
	clock := newClock()
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, clock)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	good := sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(nil))
	attacker, colleague := elsewhere(), elsewhere()
	if _, err := s.SignIn(t.Context(), good, colleague); err != nil {
		t.Fatal(err)
	}
	asked := p.keyRequests.Load()
	var many *authority.TooMany
	garbage := sign(t, jwt.SigningMethodHS256, []byte("x"), p.claims(nil))
	var err error
	for n := 0; !errors.As(err, &many); n++ {
		if n > 20 {
			t.Fatalf("%d failures are not too many", n)
		}
		_, err = s.SignIn(t.Context(), garbage, attacker)
	}
	if _, err := s.SignIn(t.Context(), good, attacker); !errors.As(err, &many) {
		t.Errorf("the next one from there: %v", err)
	}
	if _, err := s.SignIn(t.Context(), good, colleague); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	if n := s.Counts(); n.Limited != 2 || n.SignedIn != 2 {
		t.Errorf("counted: %+v", n)
	}
	// Each for another address: the network is limited.
	err = nil
	for n := 0; !errors.As(err, &many); n++ {
		if n > 200 {
			t.Fatalf("%d failures of a network are not too many", n)
		}
		_, err = s.SignIn(t.Context(), sign(t, jwt.SigningMethodHS256, []byte("x"), p.claims(jwt.MapClaims{"email": fmt.Sprint(n)})), attacker)
	}
	for _, raw := range []string{"", "..", "x.eyJpc3MiOiJodHRwczovL2V2aWwuZXhhbXBsZSJ9.x", garbage} {
		_, err := s.SignIn(t.Context(), raw, elsewhere())
		refused(t, "garbage", err)
	}
	if n := p.keyRequests.Load(); n != asked {
		t.Errorf("garbage caused %d requests to the provider", n-asked)
	}
}

func TestFlowEndsWithoutAskingTheProviderAfterManyFailures(t *testing.T) {
	p := newProvider(t)
	p.token = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
	}
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	where, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	var many *authority.TooMany
	from := elsewhere()
	for n := 0; !errors.As(err, &many); n++ {
		if n > 20 {
			t.Fatalf("%d failures are not too many", n)
		}
		_, err = s.Finish(t.Context(), cookie, oidc.Answer{Code: "guess", State: query(t, where).Get("state")}, from)
	}
	asked := p.tokenRequests.Load()
	if _, err = s.Finish(t.Context(), cookie, oidc.Answer{Code: "guess", State: query(t, where).Get("state")}, from); !errors.As(err, &many) || p.tokenRequests.Load() != asked {
		t.Error(err)
	}
}

func TestCertificateOfAProviderIsAlwaysVerified(t *testing.T) {
	p := newProvider(t)
	secure := httptest.NewTLSServer(p.Config.Handler)
	t.Cleanup(secure.Close)
	p.Close()
	p.URL = secure.URL
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	off := p.change()
	off.VerifyServer = ptr(false)
	var refusal *iam.Error
	if err := s.Create(t.Context(), "corp", off, admin); !errors.As(err, &refusal) || refusal.Code != iam.InvalidProvider {
		t.Errorf("verification is switched off: %v", err)
	}
	if err := s.Create(t.Context(), "corp", p.change(), admin); err != nil {
		t.Fatal(err)
	}
	raw := sign(t, jwt.SigningMethodRS256, signingKey(), p.claims(nil))
	var away *oidc.Unavailable
	if _, err := s.SignIn(t.Context(), raw, elsewhere()); !errors.As(err, &away) {
		t.Errorf("an authority that nobody named: %v", err)
	}
	if err := s.Update(t.Context(), "corp", &oidc.Change{VerifyServer: ptr(false)}); !errors.As(err, &refusal) {
		t.Errorf("verification is switched off later: %v", err)
	}
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	if err := s.Update(t.Context(), "corp", &oidc.Change{CACerts: &authority, VerifyServer: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	if who, err := s.SignIn(t.Context(), raw, elsewhere()); err != nil || who.UID != "ann@example.com" {
		t.Error(who, err)
	}
}
