package tokens

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/iam"
)

// DefaultLifetime is how long a token lives unless [Config] says otherwise, as in
// DC/OS Enterprise.
const DefaultLifetime = 5 * 24 * time.Hour

// EmergencyLifetime bounds the life of a token of somebody who signs in while the
// store is sealed.
const EmergencyLifetime = 10 * time.Minute

// ErrStale means that the account was deleted, or its tokens were revoked, since
// it signed in.
var ErrStale = fmt.Errorf("%w: the account has changed since the sign-in", token.ErrInvalid)

// Reasons for refusing a token with a good signature. They are for the log.
var (
	errRevoked = errors.New("the account was deleted, has a new password, or its tokens were revoked")
	errEnded   = errors.New("it was made while the store was sealed, and has ended")
	errForeign = errors.New("the user has or had an account here, so it must sign in here")
	errMinter  = errors.New("the account that had it made was deleted, has a new password, or its tokens were revoked")
)

// Authority is the IAM of this server, as far as tokens need it. See package
// authority.
type Authority interface {
	// Directory returns what decisions are made from, or why there are none now.
	Directory() (*iam.Directory, error)
	// Known returns what is known in any case: the superusers of the file.
	Known() *iam.Directory
	// Era returns a number that changes with each change of what is known in any case.
	Era() uint64
	// Changed returns a channel that is closed when the directory or a record
	// changes, and when the store is sealed.
	Changed() <-chan struct{}
	// Records returns the records whose names begin with prefix.
	Records(prefix string) map[string][]byte
	// Used notes that the account was used.
	Used(uid iam.UID)
	// UpdateRecords writes what f makes of these records, all or nothing. It calls f
	// again if another change came first.
	UpdateRecords(ctx context.Context, prefix string, f func(map[string][]byte) (put []iam.Record, remove []string, err error)) error
}

// ForeignVerifier verifies tokens of other issuers. Its errors hold no part of a
// token.
type ForeignVerifier interface {
	Verify(raw string) (acl.Principal, error)
}

// Config is what [Tokens] are made of.
type Config struct {
	Authority Authority
	// Sealed reports whether the store has no keys: it is sealed, or not initialized
	// yet. Superusers of the file may then sign in to unseal it. unseals is how often this
	// server was unsealed until then.
	Sealed func() (sealed bool, unseals uint64)
	// Incarnation returns a text that changes with each restore of a backup of the
	// store: tokens of another incarnation are refused. Nil returns "".
	Incarnation func() (string, error)
	// Foreign verifies the tokens of other issuers.
	Foreign ForeignVerifier
	// ForeignForAccounts makes those tokens good for users who have or had an account
	// here.
	ForeignForAccounts bool
	// Lifetime is how long tokens live; 0 means [DefaultLifetime].
	Lifetime time.Duration
	Log      *zap.Logger // nil drops everything
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Tokens makes and verifies tokens. All methods may be called concurrently.
type Tokens struct {
	authority          Authority
	sealed             func() (sealed bool, unseals uint64)
	wanted             chan struct{} // Issue waits for a key; Run may not know that one is needed
	incarnation        func() (string, error)
	foreign            ForeignVerifier
	foreignForAccounts bool
	lifetime           time.Duration
	log                *zap.Logger
	now                func() time.Time

	ring atomic.Pointer[ring]
	// emergency is the key of this process for sign-ins while the store is sealed;
	// nil if there was none yet.
	emergency atomic.Pointer[emergencyKey]
	mu        sync.Mutex // held while ring or emergency is replaced
}

// emergencyKey signs while the store is sealed. It never leaves this process.
type emergencyKey struct {
	*key
	verifier *token.Verifier
	era      era // its tokens end with it
}

// era lasts until the store is unsealed or the file of superusers changes.
type era struct{ unseals, file uint64 }

// New returns the tokens of one server. Run makes the first key.
func New(c Config) *Tokens {
	t := &Tokens{
		authority: c.Authority, sealed: c.Sealed, incarnation: c.Incarnation, wanted: make(chan struct{}, 1), foreign: c.Foreign, foreignForAccounts: c.ForeignForAccounts,
		lifetime: c.Lifetime, log: c.Log, now: c.Now,
	}
	if t.lifetime == 0 {
		t.lifetime = DefaultLifetime
	}
	if t.incarnation == nil {
		t.incarnation = func() (string, error) { return "", nil }
	}
	if t.log == nil {
		t.log = zap.NewNop()
	}
	if t.now == nil {
		t.now = time.Now
	}
	t.ring.Store(noKeys())
	return t
}

// noKeys returns a ring that is replaced as soon as there are keys.
func noKeys() *ring {
	stale := make(chan struct{})
	close(stale)
	return &ring{stale: stale}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// current returns the keys as the records are now.
//
// A server may learn later than others that the store was restored, and so is another
// incarnation: that is not a change of the identities.
func (t *Tokens) current() *ring {
	if r := t.ring.Load(); t.isCurrent(r) {
		return r
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.ring.Load()
	if t.isCurrent(r) {
		return r
	}
	next := t.read(r)
	t.ring.Store(next)
	return next
}

func (t *Tokens) isCurrent(r *ring) bool {
	if closed(r.stale) {
		return false
	}
	incarnation, err := t.incarnation()
	return err == nil && incarnation == r.incarnation
}

// read reads the keys again. Those of old are taken if they are the same: with
// them the verified tokens are remembered.
func (t *Tokens) read(old *ring) *ring {
	changed := t.authority.Changed()
	if _, err := t.authority.Directory(); err != nil {
		return noKeys()
	}
	incarnation, err := t.incarnation()
	if err != nil {
		return noKeys()
	}
	records := t.authority.Records(recordPrefix)
	if old.same(records, incarnation) {
		next := *old
		next.stale = changed
		return &next
	}
	next := newRing(records, incarnation, t.now, changed)
	if next.bad > 0 {
		t.log.Error("could not read signing keys of tokens; their tokens are refused", zap.Int("keys", next.bad))
	}
	return next
}

// Verify verifies a token of this server, or of another issuer. The error wraps
// token.ErrInvalid, is token.ErrNoKeys, or wraps token.ErrUnchecked and what keeps
// the token from being checked.
func (t *Tokens) Verify(raw string) (acl.Principal, error) {
	id, ours := token.AccountKeyID(raw)
	if ours {
		if r := t.current(); r.find(id, t.now()) != nil {
			return t.verifyAccount(raw, r)
		}
		if e := t.emergency.Load(); e != nil && e.id == id {
			return t.verifyEmergency(raw, e)
		}
	}
	who, err := t.foreign.Verify(raw)
	if err == nil {
		if err = t.CheckForeign(who.UID); err != nil {
			return acl.Principal{}, err
		}
		return who, nil
	}
	if ours && token.IsAccount(raw) {
		if _, away := t.authority.Directory(); away != nil {
			return acl.Principal{}, unchecked(away)
		}
		// Just after a seal, the keys are gone before the identities are.
		if _, away := t.incarnation(); away != nil {
			return acl.Principal{}, unchecked(away)
		}
		// Just after an unseal, they may have been loaded since the keys were looked at.
		if r := t.current(); r.find(id, t.now()) != nil {
			return t.verifyAccount(raw, r)
		}
	}
	return acl.Principal{}, err
}

// verifyAccount verifies a token that names a key of r.
func (t *Tokens) verifyAccount(raw string, r *ring) (acl.Principal, error) {
	who, generation, err := r.verifier.VerifyAccount(raw)
	if err != nil {
		return acl.Principal{}, err
	}
	d, err := t.directoryWith(iam.UID(who.UID))
	if err != nil {
		return acl.Principal{}, unchecked(err)
	}
	if !isNow(d, who.UID, generation) {
		return acl.Principal{}, invalid(errRevoked)
	}
	t.authority.Used(iam.UID(who.UID))
	return who, nil
}

// catchUp is how long a token waits for its account: changes reach every server in
// less.
const catchUp = time.Second

// directoryWith returns the directory once it knows uid, or as it is after catchUp. A
// token with a good signature, whose account was never seen here, is of an account that
// another server has just made: one that was deleted stays known. Only a superuser whom
// the file no longer names can have many requests wait.
func (t *Tokens) directoryWith(uid iam.UID) (*iam.Directory, error) {
	d, err := t.authority.Directory()
	if err != nil || d.Known(uid) {
		return d, err
	}
	for end := time.After(catchUp); ; {
		changed := t.authority.Changed()
		if d, err = t.authority.Directory(); err != nil || d.Known(uid) {
			return d, err
		}
		select {
		case <-changed:
		case <-end:
			return d, nil
		}
	}
}

// isNow reports whether d has uid in this generation.
func isNow(d *iam.Directory, uid, generation string) bool {
	now, ok := d.Identity(iam.UID(uid))
	return ok && textOf(now.Generation) == generation
}

func textOf(g iam.Generation) string { return hex.EncodeToString(g[:]) }

func invalid(reason error) error { return fmt.Errorf("%w: %w", token.ErrInvalid, reason) }

func unchecked(cause error) error { return fmt.Errorf("%w: %w", token.ErrUnchecked, cause) }

// verifyEmergency verifies a token that names the key of this process.
func (t *Tokens) verifyEmergency(raw string, e *emergencyKey) (acl.Principal, error) {
	who, generation, err := e.verifier.VerifyAccount(raw)
	if err != nil {
		return acl.Principal{}, err
	}
	// This process made it, so its clock needs no leeway.
	who.Expires = who.Expires.Add(-token.Leeway)
	sealed, unseals := t.sealed()
	if !sealed || e.era != (era{unseals, t.authority.Era()}) || !t.now().Before(who.Expires) || !isNow(t.authority.Known(), who.UID, generation) {
		return acl.Principal{}, invalid(errEnded)
	}
	who.Emergency = true
	return who, nil
}

// CheckForeign returns nil if a user whom another issuer names, in a token or in a
// client certificate, may act under that uid: it has and had no account here, or
// the operator allows it. Errors are those of Verify.
//
// While the store is sealed, only the superusers of the file are known. Nothing can
// be read then, and operators with a token of another issuer can unseal the store.
func (t *Tokens) CheckForeign(uid string) error {
	if t.foreignForAccounts {
		return nil
	}
	d, err := t.authority.Directory()
	if err != nil {
		if sealed, _ := t.sealed(); !sealed {
			return unchecked(err)
		}
		d = t.authority.Known()
	}
	if d.Known(iam.UID(uid)) {
		return invalid(errForeign)
	}
	return nil
}

// MinterGeneration returns what a task token that uid has made must say of its
// minter: the generation of the account, or "" if uid never had one. The error is
// one of Directory, or wraps token.ErrInvalid if the account was deleted.
func (t *Tokens) MinterGeneration(uid string) (string, error) {
	d, err := t.authority.Directory()
	if err != nil {
		return "", err
	}
	who, ok := d.Identity(iam.UID(uid))
	switch {
	case ok:
		return textOf(who.Generation), nil
	case d.Known(iam.UID(uid)):
		return "", invalid(errMinter)
	}
	return "", nil
}

// CheckMinter refuses a task token whose minter is not the same account as when it
// was made. Errors are those of MinterGeneration.
func (t *Tokens) CheckMinter(uid, generation string) error {
	now, err := t.MinterGeneration(uid)
	if err == nil && now != generation {
		err = invalid(errMinter)
	}
	return err
}

// JWKS returns the JSON Web Key Set of all keys whose tokens are good, newest
// first. The errors are those of Directory.
func (t *Tokens) JWKS() ([]byte, error) {
	if _, err := t.authority.Directory(); err != nil {
		return nil, err
	}
	return keySet(t.current().live(t.now())), nil
}
