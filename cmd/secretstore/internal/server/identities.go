package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/oidc"
	"secretstore/iam/tokens"
	"secretstore/internal/watchfile"
	"secretstore/seal"
)

// superuserFile is the file of --superuser-password-file. It is a source.
type superuserFile struct {
	path string

	mu      sync.Mutex
	current authority.Superusers // guarded by mu
	to      *authority.Authority // gets them; nil before it runs; guarded by mu
}

func (f *superuserFile) name() string { return "superuser password file" }

func (f *superuserFile) files() []optionFile {
	return []optionFile{{"superuser-password-file", f.path}}
}

func (f *superuserFile) load() (inUse, []error) {
	if f.path == "" {
		return inUse{}, []error{nil}
	}
	content, err := watchfile.ReadSecret(f.path)
	if err != nil {
		return inUse{}, []error{err}
	}
	s, err := authority.ParseSuperusers(content)
	if err != nil {
		return inUse{}, []error{err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = s
	if f.to != nil {
		f.to.SetSuperusers(s)
	}
	sum := sha256.Sum256(content)
	return inUse{id: hex.EncodeToString(sum[:]), fields: []zap.Field{zap.Int("superusers", s.Len())}}, []error{nil}
}

// give hands the superusers to the IAM, now and when they change.
func (f *superuserFile) give(to *authority.Authority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
	to.SetSuperusers(f.current)
}

// openRecords starts what keeps the records of the identities, which is the IAM if the
// configuration says so.
func (s *Server) openRecords(st *seal.Store) error {
	builtin := s.cfg.IAM == config.IAMBuiltin
	a, err := authority.New(authority.Config{Storage: st.Identities(), RecordsOnly: !builtin, Rounds: s.outside.TestOnlyPasswordRounds, Log: s.log.Named("iam")})
	if err != nil {
		return err
	}
	s.records = a
	if builtin {
		s.iam = a
		s.parts.superusers.give(a)
	}
	return nil
}

// newTokens makes and verifies the tokens of the accounts, and has those of other
// issuers verified.
func (s *Server) newTokens(st *seal.Store) *tokens.Tokens {
	return tokens.New(tokens.Config{
		Authority: s.iam, Sealed: func() (bool, uint64) { now := st.Status(); return now.Sealed(), now.Unseals },
		Incarnation: st.Incarnation, Foreign: s.parts.verifier, ForeignForAccounts: s.cfg.ForeignTokens,
		Lifetime: s.cfg.TokenLifetime, Log: s.log.Named("tokens"),
	})
}

// openOIDC returns what signs people in with OpenID Connect providers; nil without an
// IAM. No provider stands for a uid that the configuration names.
func (s *Server) openOIDC() *oidc.Service {
	if s.iam == nil {
		return nil
	}
	named := func(uid iam.UID) bool {
		return slices.Contains(s.cfg.Superusers, string(uid)) || s.parts.policy.Policy().Names(string(uid))
	}
	rules := oidc.Rules{CreateUsers: s.cfg.OIDCCreateUsers, FirstUser: s.cfg.OIDCFirstUser, Reserved: named}
	return oidc.New(oidc.Config{Accounts: s.iam, Rules: rules, Log: s.log.Named("oidc")})
}

// addOIDC adds the metrics of OpenID Connect.
func (m *metrics) addOIDC(o *oidc.Service) {
	add := func(result string, count func() uint64) {
		m.counter("secretstore_oidc_sign_ins_total", "Sign-ins with OpenID Connect providers.", prometheus.Labels{"result": result}, count)
	}
	add("signed_in", func() uint64 { return o.Counts().SignedIn })
	add("refused", func() uint64 { return o.Counts().Refused })
	add("limited", func() uint64 { return o.Counts().Limited })
	add("unavailable", func() uint64 { return o.Counts().Unavailable })
}

// policy is the policy in force: what the policy file says, and what the IAM
// grants.
type policy struct {
	file *policyHolder
	iam  *authority.Authority // nil: there is none
	last atomic.Pointer[combined]
}

// combined is a policy with what it was made of.
type combined struct {
	file   *acl.Policy
	grants *iam.Directory
	policy *acl.Policy
}

// Policy returns the policy. Of the IAM it has the superusers of the file alone
// while the store is sealed, or the storage has been away for too long.
func (p *policy) Policy() *acl.Policy {
	file := p.file.Policy()
	if p.iam == nil {
		return file
	}
	grants, err := p.iam.Directory()
	if err != nil {
		grants = p.iam.Known()
	}
	if last := p.last.Load(); last != nil && last.file == file && last.grants == grants {
		return last.policy
	}
	now := &combined{file, grants, file.WithGrants(grants)}
	p.last.Store(now)
	return now.policy
}

// forgetIdentities drops what was made of the records of the IAM when they may no longer
// be used: password hashes and client secrets are not kept while the store is sealed.
func (s *Server) forgetIdentities(ctx context.Context) {
	for {
		changed := s.iam.Changed()
		if _, err := s.iam.Directory(); err != nil {
			s.oidc.Forget()
			s.policy.last.Store(nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// noSuperuser is how to make the first one.
const noSuperuser = `nobody could sign in: the IAM has no account, and no file names a superuser. Run these commands, and add the option to your own:
  (umask 077 && secretstore hash-password --uid admin > superusers)
  secretstore server --iam builtin --superuser-password-file superusers`

// checkFirstStart waits until it is known which accounts there are. It returns a
// config.Error if there are none, and nobody can make one.
func (s *Server) checkFirstStart(ctx context.Context) error {
	if s.cfg.SuperuserPasswordFile != "" {
		return nil
	}
	for {
		changed := s.iam.Changed()
		if d, err := s.iam.Directory(); err == nil {
			if _, _, _, damaged := s.iam.Entries(); len(d.Users()) == 0 && damaged == 0 {
				return config.Error{{Where: "--iam", What: noSuperuser}}
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// warnings are what status shows to superusers.
func (s *Server) warnings() []string {
	all := s.notices.list()
	if s.iam != nil {
		all = append(all, s.iam.Warnings()...)
	}
	return all
}

// addIAM adds the metrics of the IAM.
func (m *metrics) addIAM(a *authority.Authority) {
	for _, result := range authority.Results() {
		m.counter("secretstore_sign_ins_total", "Attempts to sign in with a password or a service key.", prometheus.Labels{"result": string(result)},
			func() uint64 { return a.SignIns(result) })
	}
	entry := func(kind string, count func() int) {
		m.gauge("secretstore_iam_entries", "Users, groups and ACLs of the IAM; 0 while the store is sealed.", prometheus.Labels{"kind": kind},
			func() float64 { return float64(count()) })
	}
	entry("user", func() int { users, _, _, _ := a.Entries(); return users })
	entry("group", func() int { _, groups, _, _ := a.Entries(); return groups })
	entry("acl", func() int { _, _, acls, _ := a.Entries(); return acls })
	m.gauge("secretstore_iam_damaged_records", "Damaged records of the IAM, which grant nothing.", nil,
		func() float64 { _, _, _, damaged := a.Entries(); return float64(damaged) })
}
