// Package clientcert verifies the certificates that clients show in TLS, and
// names their principals. It does what package token does for tokens: whether
// the principal may do something is decided by package acl alone.
//
// TLS has proved that the client holds the private key, and nothing else: a
// certificate is verified here at each request, because it may expire, and its
// authority be removed, while its connection is open or its TLS session can be
// resumed. It knows no revocation lists: use certificates that live for hours or
// days, or replace the authority.
package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"secretstore/acl"
)

const (
	// maxCertificates is how many certificates a client may show: its own and
	// those of three authorities. It bounds the number of signatures that a
	// stranger can have checked, which grows much faster than it.
	maxCertificates = 4
	// maxBytes bounds their size. They stay in memory with the connection.
	maxBytes = 32 << 10
	// remembered is how many chains are remembered.
	remembered = 10_000
	// refusedFor is how long a refusal is remembered: later, a certificate that
	// was not valid yet may be.
	refusedFor = 5 * time.Second
)

// ErrUntrusted is returned, with the reason for the log, for a certificate that
// is not valid now, or not from an authority that is trusted.
var ErrUntrusted = errors.New("the client certificate is not valid now, or not from a trusted authority")

var (
	errTooLarge    = fmt.Errorf("a client may show at most %d bytes of certificates", maxBytes)
	errTooMany     = fmt.Errorf("%w: there are more than %d", ErrUntrusted, maxCertificates)
	errNoAuthority = fmt.Errorf("%w: no authority is trusted", ErrUntrusted)
	errNone        = fmt.Errorf("%w: there is none", ErrUntrusted)
)

// Verifier verifies client certificates. All methods may be called concurrently.
// It refuses all until it has authorities.
type Verifier struct {
	rule  Rule
	now   func() time.Time
	state atomic.Pointer[state]
}

// state is a set of authorities, and what is known of certificates under exactly
// these. It is replaced as a whole.
type state struct {
	authorities *x509.CertPool
	known       *otter.Cache[[sha256.Size]byte, verdict]
}

// verdict is the result for one chain, and when it holds.
type verdict struct {
	principal   acl.Principal
	err         error
	from, until time.Time // both included
}

// New returns a verifier. now is the clock; nil means time.Now.
func New(rule Rule, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	return &Verifier{rule: rule, now: now}
}

// SetAuthorities replaces the authorities and forgets what is known of
// certificates.
func (v *Verifier) SetAuthorities(all []*x509.Certificate) {
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	known, err := otter.New(&otter.Options[[sha256.Size]byte, verdict]{MaximumSize: remembered})
	if err != nil {
		panic("internal error: cache of certificates: " + err.Error()) // unreachable: the size is positive
	}
	v.state.Store(&state{pool, known})
}

// Authorities returns the authorities, for the TLS handshake: it names them to
// clients, which choose a certificate by them. Nil if there are none yet.
func (v *Verifier) Authorities() *x509.CertPool {
	if st := v.state.Load(); st != nil {
		return st.authorities
	}
	return nil
}

// CheckSize is for tls.Config.VerifyPeerCertificate: it ends a handshake in which
// a client shows so much that its connection would take more memory than others.
// It verifies nothing.
func CheckSize(raw [][]byte, _ [][]*x509.Certificate) error {
	size := 0
	for _, c := range raw {
		size += len(c)
	}
	if size > maxBytes {
		return errTooLarge
	}
	return nil
}

// Verify returns the principal of a client that has shown chain, its own
// certificate first. [ErrName], [ErrUntrusted].
func (v *Verifier) Verify(chain []*x509.Certificate) (acl.Principal, error) {
	st := v.state.Load()
	switch {
	case st == nil:
		return acl.Principal{}, errNoAuthority
	case len(chain) == 0:
		return acl.Principal{}, errNone
	case len(chain) > maxCertificates:
		return acl.Principal{}, errTooMany
	}
	sum := digest(chain)
	now := v.now()
	known, cached := st.known.GetIfPresent(sum)
	if !cached || now.Before(known.from) || now.After(known.until) {
		known = st.verify(chain, v.rule, now)
		st.known.Set(sum, known)
	}
	return known.principal, known.err
}

// digest identifies a chain. The length of a certificate is a part of it, so two
// chains are never the same bytes.
func digest(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

func (st *state) verify(chain []*x509.Certificate, rule Rule, now time.Time) verdict {
	refusal := verdict{from: now, until: now.Add(refusedFor)}
	// First, because it costs little.
	uid, err := rule.uid(chain[0])
	if err != nil {
		refusal.err = err
		return refusal
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: st.authorities, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		refusal.err = fmt.Errorf("%w: %w", ErrUntrusted, err)
		return refusal
	}
	from, until := validity(chains[0])
	// NotAfter is the last moment at which a certificate is valid.
	return verdict{principal: acl.Principal{UID: uid, Expires: until.Add(1)}, from: from, until: until}
}

// validity returns when all certificates of a chain are valid.
func validity(chain []*x509.Certificate) (from, until time.Time) {
	from, until = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from, until
}
