package oidc

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"secretstore/iam"
)

// CallbackPath is where a provider sends browsers back to, below the base URL.
const CallbackPath = "/acs/api/v1/auth/oidc/callback"

const recordPrefix = "oidc/"

const (
	textRefused = "OpenID Connect login failed: the provider refused the sign-in"
	textState   = "OpenID Connect login failed: this browser did not begin the sign-in within the last ten minutes: begin again"
	textCode    = "the code of the sign-in is invalid, was used, or is older than a minute: begin again"
	textIssuer  = "OpenID Connect login failed: the answer is not from the provider that was asked"
)

// Accounts are the directory, the records of the providers, and the limits of
// attempts. Its errors are those of package authority.
type Accounts interface {
	Directory() (*iam.Directory, error)
	Change(ctx context.Context, f func(*iam.Directory) (iam.Change, error)) error
	Records(prefix string) map[string][]byte
	UpdateRecords(ctx context.Context, prefix string, f func(map[string][]byte) (put []iam.Record, remove []string, err error)) error
	// Attempt runs try within the limits of attempts to sign in.
	Attempt(uid string, from netip.Addr, try func() error, refusal func(error) bool) error
}

// Config is what a [Service] needs.
type Config struct {
	Accounts Accounts
	Rules    Rules
	Log      *zap.Logger
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Service signs people in with the providers. Make it with [New], and call Forget in the
// end.
type Service struct {
	accounts Accounts
	rules    Rules
	log      *zap.Logger
	now      func() time.Time

	signedIn, refused, limited, unavailable atomic.Uint64

	used usedCodes

	mu      sync.Mutex
	remotes map[string]*remote // by id, guarded by mu
	known   map[string]known   // by the name of the record, guarded by mu
}

// known is a provider that was read from its record. Strangers may ask for the
// providers as often as they like, and to check the CA certificates takes a while.
type known struct {
	record []byte
	p      *Provider
}

// New returns the service.
func New(c Config) *Service {
	s := &Service{accounts: c.Accounts, rules: c.Rules, log: c.Log, now: c.Now, remotes: make(map[string]*remote)}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Forget drops what is known of the providers, client secrets too, and ends idle
// connections to them. The service can still be used: it reads the records again.
func (s *Service) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.remotes {
		r.close()
	}
	clear(s.remotes)
	s.known = nil
}

// Providers returns the providers, ordered by id. Its errors are those of Directory.
func (s *Service) Providers() ([]*Provider, error) {
	if _, err := s.accounts.Directory(); err != nil {
		return nil, err
	}
	records := s.accounts.Records(recordPrefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Provider
	now := make(map[string]known, len(records))
	for _, name := range slices.Sorted(maps.Keys(records)) {
		k, ok := s.known[name]
		if !ok || !bytes.Equal(k.record, records[name]) {
			p, _ := decode(strings.TrimPrefix(name, recordPrefix), records[name]) // nil if it is damaged
			k = known{records[name], p}
		}
		now[name] = k
		if k.p != nil {
			all = append(all, k.p)
		}
	}
	s.known = now
	return all, nil
}

// Provider returns one provider. The error has the code [iam.InvalidProvider], or is
// one of Directory.
func (s *Service) Provider(id string) (*Provider, error) {
	r, err := s.remote(id)
	if err != nil {
		return nil, err
	}
	return r.p, nil
}

func unknown(id string) error { return invalid("provider with id `%s` not known.", shown(id)) }

// shown returns what an error repeats of an id.
func shown(id string) string {
	if !validID(id) {
		return "…"
	}
	return id
}

// remote returns how to speak with a provider.
func (s *Service) remote(id string) (*remote, error) {
	if _, err := s.accounts.Directory(); err != nil {
		return nil, err
	}
	record, ok := s.accounts.Records(recordPrefix + id)[recordPrefix+id]
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.remotes[id]
	if ok && have != nil && bytes.Equal(have.record, record) {
		return have, nil
	}
	if have != nil {
		have.close()
		delete(s.remotes, id)
	}
	if !ok {
		return nil, unknown(id)
	}
	p, err := decode(id, record)
	if err != nil {
		s.log.Warn("the record of an OpenID Connect provider is damaged: nobody can sign in with it until it is deleted and made again", zap.String("provider", shown(id)))
		return nil, invalid("the stored provider `%s` is damaged: delete it and make it again", shown(id))
	}
	r, err := newRemote(p, record, s.now)
	if err != nil {
		return nil, err
	}
	s.remotes[id] = r
	return r, nil
}

// errExists refuses a provider whose id is taken.
func errExists(id string) error {
	return &iam.Error{Code: iam.ProviderExists, Text: "OIDC provider with id `" + id + "` already exists."}
}

// Create writes a new provider. The error has the code [iam.ProviderExists] or
// [iam.InvalidProvider], or is one of UpdateRecords.
func (s *Service) Create(ctx context.Context, id string, c *Change, by iam.Origin) error {
	p, err := c.Create(id, by)
	if err != nil {
		return err
	}
	return s.accounts.UpdateRecords(ctx, "oidc", func(now map[string][]byte) ([]iam.Record, []string, error) {
		if now[recordPrefix+id] != nil {
			return nil, nil, errExists(id)
		}
		put, err := p.record()
		if err != nil {
			return nil, nil, err
		}
		if now[stateRecord] == nil {
			put = append(put, iam.Record{Name: stateRecord, Data: newStateKey()})
		}
		if len(now) > MaxProviders {
			return nil, nil, invalid("there are %d already, the most that is possible", MaxProviders)
		}
		return put, nil, nil
	})
}

func (p *Provider) record() ([]iam.Record, error) {
	data, err := p.encode()
	return []iam.Record{{Name: recordPrefix + p.ID, Data: data}}, err
}

// Update changes a provider. The error has the code [iam.InvalidProvider], or is one
// of UpdateRecords.
func (s *Service) Update(ctx context.Context, id string, c *Change) error {
	return s.accounts.UpdateRecords(ctx, recordPrefix+id, func(now map[string][]byte) ([]iam.Record, []string, error) {
		data, ok := now[recordPrefix+id]
		if !ok {
			return nil, nil, unknown(id)
		}
		p, err := decode(id, data)
		if err != nil {
			return nil, nil, invalid("the stored provider `%s` is damaged: delete it and make it again", id)
		}
		if p, err = c.Apply(p); err != nil {
			return nil, nil, err
		}
		put, err := p.record()
		return put, nil, err
	})
}

// Delete removes a provider. Its accounts stay, and cannot sign in. The error has the
// code [iam.InvalidProvider], or is one of UpdateRecords.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.accounts.UpdateRecords(ctx, recordPrefix+id, func(now map[string][]byte) ([]iam.Record, []string, error) {
		if _, ok := now[recordPrefix+id]; !ok {
			return nil, nil, unknown(id)
		}
		return nil, []string{recordPrefix + id}, nil
	})
}

// Start begins a sign-in in a browser. The browser goes to where, and keeps cookie,
// the value of a cookie, until it comes back to [Provider.CallbackPath]. *Unavailable, and
// the errors of [Service.Provider].
func (s *Service) Start(ctx context.Context, id string, target Target) (where, cookie string, err error) {
	r, err := s.remote(id)
	if err != nil {
		return "", "", err
	}
	m, err := r.discover(ctx)
	if err != nil {
		return "", "", s.count(err)
	}
	verifier := oauth2.GenerateVerifier()
	st := &state{Provider: id, Issuer: r.p.Issuer, ClientID: r.p.ClientID, State: randomText(), Nonce: randomText(), Verifier: verifier, Target: target, Expires: s.now().Add(stateLife)}
	cookie, err = st.seal(s.accounts.Records(stateRecord)[stateRecord])
	if err != nil {
		return "", "", err
	}
	return r.config(m).AuthCodeURL(st.State, oidc.Nonce(st.Nonce), oauth2.S256ChallengeOption(verifier)), cookie, nil
}

// Answer is what a browser brings back from a provider.
type Answer struct {
	Code, State, Error string
	Issuer             string // "" if the provider does not name itself
}

// ReadAnswer reads a query. A value that occurs twice is as if it were missing.
func ReadAnswer(q url.Values) Answer {
	one := func(name string) string {
		if len(q[name]) != 1 {
			return ""
		}
		return q[name][0]
	}
	return Answer{Code: one("code"), State: one("state"), Error: one("error"), Issuer: one("iss")}
}

// Finished is a sign-in in a browser that has ended well.
type Finished struct {
	Who    iam.Identity
	Target Target // where the browser goes
	// Code is for the program at Target, if that is one; see [Service.Exchange].
	Code     string
	Provider *Provider
}

// Finish ends a sign-in in a browser at from. *Refused, *Unavailable, and the errors
// of [Service.Provider], of Attempt and of Change.
func (s *Service) Finish(ctx context.Context, cookie string, a Answer, from netip.Addr) (Finished, error) {
	st, err := s.openState(cookie, a)
	if err != nil {
		return Finished{}, s.count(err)
	}
	done := Finished{Target: st.Target}
	// One flow ends once. A client that tries codes has to begin flows, and is then
	// limited by its network.
	err = s.attempt("oidc flow "+st.State, from, func() error {
		r, err := s.remote(st.Provider)
		if err != nil {
			return err
		}
		done.Provider = r.p
		done.Who, err = s.finish(ctx, r, st, a)
		return err
	})
	if err == nil && st.Challenge != "" {
		done.Code, err = s.newCode(done.Who, st.Challenge)
	}
	if err != nil {
		return Finished{}, err
	}
	return done, nil
}

// openState returns the state that a browser has kept. It costs nothing but one
// decryption, and is not limited.
func (s *Service) openState(cookie string, a Answer) (*state, error) {
	if _, err := s.accounts.Directory(); err != nil {
		return nil, err
	}
	st, err := openState(s.accounts.Records(stateRecord)[stateRecord], cookie, a.State, s.now())
	if err != nil {
		return nil, &Refused{textState}
	}
	return st, nil
}

func (s *Service) finish(ctx context.Context, r *remote, st *state, a Answer) (iam.Identity, error) {
	if r.p.Issuer != st.Issuer || r.p.ClientID != st.ClientID {
		return iam.Identity{}, &Refused{textState}
	}
	m, err := r.discover(ctx)
	switch {
	case err != nil:
		return iam.Identity{}, err
	case a.Issuer != "" && a.Issuer != r.p.Issuer, a.Issuer == "" && m.namesSelf:
		return iam.Identity{}, &Refused{textIssuer} // two providers were mixed up
	case a.Error != "" || a.Code == "":
		return iam.Identity{}, &Refused{textRefused}
	}
	raw, err := r.exchange(ctx, m, a.Code, st.Verifier)
	if err != nil {
		return iam.Identity{}, err
	}
	c, nonce, err := r.verify(ctx, raw)
	if err == nil && subtle.ConstantTimeCompare([]byte(nonce), []byte(st.Nonce)) != 1 {
		err = &Refused{textBadToken}
	}
	if err != nil {
		return iam.Identity{}, err
	}
	return s.decide(ctx, r.p, c)
}

// attempt runs try within the limits of attempts, and counts its result.
func (s *Service) attempt(what string, from netip.Addr, try func() error) error {
	tried := false
	err := s.accounts.Attempt(what, from, func() error {
		tried = true
		return try()
	}, func(err error) bool { return errors.As(err, new(*Refused)) })
	if !tried {
		s.limited.Add(1)
		return err
	}
	return s.count(err)
}

// SignIn signs in a person at from, who has an ID token, as in open DC/OS. *Refused,
// *Unavailable, and the errors of Attempt and of Change.
func (s *Service) SignIn(ctx context.Context, raw string, from netip.Addr) (who iam.Identity, err error) {
	all, err := s.Providers()
	if err != nil {
		return iam.Identity{}, err
	}
	claimed := claimedBy(raw)
	err = s.attempt("oidc "+claimed.Email, from, func() error {
		who, err = s.signIn(ctx, all, raw, claimed.Issuer)
		return err
	})
	return who, err
}

func (s *Service) signIn(ctx context.Context, all []*Provider, raw, issuer string) (iam.Identity, error) {
	var err error = &Refused{textBadToken}
	for _, p := range all {
		if p.Issuer != issuer {
			continue // only its own tokens make this server ask a provider
		}
		r, problem := s.remote(p.ID)
		if problem != nil {
			err = problem
			continue
		}
		c, _, problem := r.verify(ctx, raw)
		if problem == nil {
			return s.decide(ctx, r.p, c)
		}
		err = problem // another client of the same issuer may be meant
	}
	return iam.Identity{}, err
}

// claimed is what a token says, unverified.
type claimed struct {
	Issuer string `json:"iss"`
	Email  string `json:"email"`
}

// claimedBy returns what a token says of itself, or nothing if it is malformed.
func claimedBy(raw string) claimed {
	parts := strings.Split(raw, ".")
	if len(raw) > maxToken || len(parts) != 3 {
		return claimed{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claimed{}
	}
	var c claimed
	if json.Unmarshal(payload, &c) != nil {
		return claimed{}
	}
	return c
}

// decide writes what follows from a sign-in.
func (s *Service) decide(ctx context.Context, p *Provider, c Claims) (iam.Identity, error) {
	var decision Decision
	err := s.accounts.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
		var err error
		decision, err = Decide(d, p, c, s.rules, s.now().UTC())
		return decision.Change, err
	})
	if err != nil {
		return iam.Identity{}, err
	}
	return decision.Who, nil
}
