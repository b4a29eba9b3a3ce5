package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"

	"secretstore/acl"
)

// MaxTokenBytes is the length of the longest token that is verified.
const MaxTokenBytes = 16 << 10

// DefaultCacheSize is how many verified tokens are remembered unless [Config]
// says otherwise.
const DefaultCacheSize = 10_000

// Errors of [Verifier.Verify]. ErrInvalid is wrapped with a reason for the log;
// clients only see ErrInvalid.
var (
	ErrInvalid = errors.New("invalid authentication token")
	// ErrNoKeys means that there is no key to verify tokens with, so all are
	// refused.
	ErrNoKeys = errors.New("no token verification key is configured")
	// ErrUnchecked means that the token may be good, but cannot be checked now. It
	// is wrapped with the reason. Verifier does not return it; what verifies tokens
	// with the help of the storage does.
	ErrUnchecked = errors.New("the authentication token cannot be checked now")
)

// Config is what a [Verifier] starts with. Keys may be missing: they can arrive
// later.
type Config struct {
	// HMACKey verifies HS256, at least [MinHMACKeyBytes] long.
	HMACKey []byte
	// JWKS is a JSON Web Key Set; its RSA keys (2048 bits or more) verify
	// RS256, its P-256 keys ES256.
	JWKS []byte
	// JWKSServiceClaim makes the claim service count in tokens signed by a key
	// of the set, as it does in HS256 tokens. Without it the claim is ignored,
	// and the token names its uid: a binding gives access without any grant, so
	// an issuer that lets its users choose claims must not be able to make one.
	JWKSServiceClaim bool
	// Issuers and Audiences are what a token has to name in its claim iss, and in
	// its claim aud: one of each. Where there are none, any token will do. Task
	// tokens have neither claim; a Verifier does not verify them.
	Issuers, Audiences []string
	// CacheSize is the number of verified tokens to remember; 0 means
	// [DefaultCacheSize].
	CacheSize int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verifier verifies tokens. All methods may be called concurrently.
type Verifier struct {
	jwksServiceClaim bool
	demands          demands
	cacheSize        int
	now              func() time.Time
	lookups          *stats.Counter // in the caches of all states
	state            atomic.Pointer[state]
	mu               sync.Mutex // held while state is replaced
}

// state is a set of keys, and the tokens that verified under exactly these. It
// is replaced as a whole: a verification that began under old keys remembers
// its token in the old cache, which is not used again.
type state struct {
	hmac  []byte
	jwks  []publicKey
	cache *otter.Cache[[sha256.Size]byte, verified]
}

// verified is what is remembered of a token.
type verified struct {
	principal  acl.Principal
	notBefore  time.Time // zero: no limit
	generation string    // "" if it has none; see Account
}

// New returns a verifier, or every problem of c at once.
func New(c Config) (*Verifier, error) {
	v := &Verifier{jwksServiceClaim: c.JWKSServiceClaim, demands: demands{c.Issuers, c.Audiences}, cacheSize: c.CacheSize, now: c.Now, lookups: stats.NewCounter()}
	if v.now == nil {
		v.now = time.Now
	}
	var problems []error
	if v.cacheSize == 0 {
		v.cacheSize = DefaultCacheSize
	}
	if v.cacheSize < 0 {
		problems = append(problems, errors.New("the size of the token cache is negative"))
		v.cacheSize = 1
	}
	v.state.Store(v.newState(nil, nil))
	if c.HMACKey != nil {
		problems = append(problems, v.SetHMACKey(c.HMACKey))
	}
	if c.JWKS != nil {
		if err := v.SetJWKS(c.JWKS); !errors.Is(err, ErrKeyLeftOut) {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return v, nil
}

// SetHMACKey replaces the HS256 key, and forgets all verified tokens unless the
// key is the same. On an error ([ErrShortKey], [ErrLongKey]) the old key stays,
// but with [ErrRevoked], for an empty key, none is left.
func (v *Verifier) SetHMACKey(key []byte) error {
	err := checkHMACKey(key)
	if err != nil && !errors.Is(err, ErrRevoked) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.state.Load()
	switch {
	case err != nil:
		v.state.Store(v.newState(nil, old.jwks))
	case subtle.ConstantTimeCompare(old.hmac, key) == 0:
		v.state.Store(v.newState(bytes.Clone(key), old.jwks))
	}
	return err
}

// SetJWKS replaces the key set, and forgets all verified tokens. On an error
// ([ErrBadJWKS]) the old set stays, but with [ErrRevoked], for a set without a
// usable key, none is left, and with [ErrKeyLeftOut] the new set is in force.
func (v *Verifier) SetJWKS(raw []byte) error {
	keys, err := parseJWKS(raw)
	if err != nil && !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrKeyLeftOut) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state.Store(v.newState(v.state.Load().hmac, keys))
	return err
}

// Fingerprints returns a fingerprint of each key, for the log: 64 bits of the
// SHA-256 sum of the HS256 key, as sha256sum prints it, and of each public key in
// DER. They do not help to guess an HS256 key that is random.
func (v *Verifier) Fingerprints() []string {
	st := v.state.Load()
	var all []string
	add := func(alg string, key []byte) {
		sum := sha256.Sum256(key)
		all = append(all, alg+":"+hex.EncodeToString(sum[:8]))
	}
	if st.hmac != nil {
		add(algHS256, st.hmac)
	}
	for _, k := range st.jwks {
		if der, err := x509.MarshalPKIXPublicKey(k.key); err == nil {
			add(k.alg, der)
		}
	}
	return all
}

func (v *Verifier) newState(hmac []byte, jwks []publicKey) *state {
	cache, err := otter.New(&otter.Options[[sha256.Size]byte, verified]{MaximumSize: v.cacheSize, StatsRecorder: v.lookups})
	if err != nil {
		panic("internal error: token cache: " + err.Error()) // unreachable: the size is positive
	}
	return &state{hmac, jwks, cache}
}

// Verify returns the principal that raw names. The error is [ErrNoKeys], or
// wraps [ErrInvalid]; it never holds any part of the token.
func (v *Verifier) Verify(raw string) (acl.Principal, error) {
	known, err := v.verify(raw)
	return known.principal, err
}

func (v *Verifier) verify(raw string) (verified, error) {
	// First of all: headers full of dots made parsers that split first allocate
	// without end (CVE-2025-30204).
	if len(raw) > MaxTokenBytes {
		return verified{}, invalid(errTooLong)
	}
	if strings.Count(raw, ".") != 2 {
		return verified{}, invalid(errMalformed)
	}
	st := v.state.Load()
	if st.hmac == nil && len(st.jwks) == 0 {
		return verified{}, ErrNoKeys
	}
	sum := sha256.Sum256([]byte(raw))
	known, cached := st.cache.GetIfPresent(sum)
	if !cached {
		var err error
		if known, err = st.verify(raw, v.jwksServiceClaim, v.demands); err != nil {
			return verified{}, invalid(err)
		}
	}
	if err := known.at(v.now()); err != nil {
		return verified{}, invalid(err)
	}
	if !cached {
		st.cache.Set(sum, known)
	}
	return known, nil
}

// Stats are the lookups in the cache of verified tokens.
type Stats struct {
	Hits, Misses uint64
	Entries      int // in the cache, about
}

// Stats returns how often a token was remembered.
func (v *Verifier) Stats() Stats {
	s := v.lookups.Snapshot()
	return Stats{s.Hits, s.Misses, v.state.Load().cache.EstimatedSize()}
}

// at checks the dates of a token.
func (v verified) at(now time.Time) error {
	if !v.principal.Expires.IsZero() && !now.Before(v.principal.Expires) {
		return errExpired
	}
	if !v.notBefore.IsZero() && now.Before(v.notBefore) {
		return errNotYet
	}
	return nil
}

func invalid(reason error) error { return fmt.Errorf("%w: %w", ErrInvalid, reason) }

func checkHMACKey(key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("%w: it is empty, so %w", ErrShortKey, ErrRevoked)
	case len(key) < MinHMACKeyBytes:
		return ErrShortKey
	case len(key) > maxHMACBytes:
		return ErrLongKey
	}
	return nil
}
