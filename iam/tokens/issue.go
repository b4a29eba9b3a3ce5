package tokens

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/acl/token"
	"secretstore/iam"
)

// maxKeys bounds the keys at one time.
const maxKeys = 16

// ErrTooManyKeys refuses to make another key.
var ErrTooManyKeys = errors.New("too many keys still have tokens: wait until some have ended")

// Issue makes a token for an account that has just signed in. It ends after the
// configured lifetime, or at until, if that is not zero and comes first. ErrStale,
// the errors of Directory, and one that wraps iam.ErrNotLoaded if ctx ends before
// the store has its first key.
//
// While the store is sealed, it makes a token of this process for a superuser of
// the file: it can only unseal the store, for ten minutes at most.
func (t *Tokens) Issue(ctx context.Context, who iam.Identity, until time.Time) (raw string, expires time.Time, err error) {
	for {
		d, err := t.authority.Directory()
		if err != nil {
			if sealed, unseals := t.sealed(); sealed {
				return t.issueEmergency(who, until, unseals)
			}
			return "", time.Time{}, err
		}
		if now, ok := d.Identity(who.UID); !ok || now != who {
			return "", time.Time{}, ErrStale
		}
		r := t.current()
		if k := r.signer(t.now()); k != nil {
			return t.sign(k, who, until, t.lifetime)
		}
		select {
		case t.wanted <- struct{}{}:
		default: // Run is awake, or will be
		}
		select {
		case <-r.stale:
		case <-time.After(keyPause): // the incarnation may have changed
		case <-ctx.Done():
			return "", time.Time{}, fmt.Errorf("%w: there is no key to sign tokens with", iam.ErrNotLoaded)
		}
	}
}

func (t *Tokens) sign(k *key, who iam.Identity, until time.Time, lifetime time.Duration) (string, time.Time, error) {
	now := t.now()
	expires := now.Add(lifetime)
	// Seconds: a time that a client chose may be too late to be compared as one.
	if end := until.Unix(); !until.IsZero() && end < expires.Unix() {
		expires = time.Unix(max(0, end), 0)
	}
	expires = expires.UTC().Truncate(time.Second)
	raw, err := token.SignAccount(token.Account{UID: string(who.UID), Generation: textOf(who.Generation), Issued: now, Expires: expires}, k.id, k.private)
	return raw, expires, err
}

func (t *Tokens) issueEmergency(who iam.Identity, until time.Time, unseals uint64) (string, time.Time, error) {
	if now, ok := t.authority.Known().Identity(who.UID); !ok || now != who {
		return "", time.Time{}, ErrStale
	}
	e, err := t.emergencyKey(unseals)
	if err != nil {
		return "", time.Time{}, err
	}
	return t.sign(e.key, who, until, EmergencyLifetime)
}

// emergencyKey returns the key of this process, which it makes when it is needed
// for the first time. It ends when the store is unsealed, even if it is sealed again at
// once, or the file of superusers changes.
func (t *Tokens) emergencyKey(unseals uint64) (*emergencyKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := era{unseals, t.authority.Era()}
	if e := t.emergency.Load(); e != nil && e.era == now {
		return e, nil
	}
	k, err := newKey(t.now())
	if err != nil {
		return nil, err
	}
	e := &emergencyKey{k, newVerifier([]*key{k}, t.now), now}
	t.emergency.Store(e)
	return e, nil
}

// RotateKey makes a new key. It is announced at once and signs a minute later. The
// older ones verify until their last token has ended. ErrTooManyKeys, and the errors
// of changes to the identities.
func (t *Tokens) RotateKey(ctx context.Context) error {
	return t.add(ctx, func(keys []*key) error {
		if len(keys) >= maxKeys {
			return ErrTooManyKeys
		}
		return nil
	})
}

// errHaveKey: the first key is there already.
var errHaveKey = errors.New("there is a key already")

// makeFirst makes the first key of a store, or another one if the newest was lost.
func (t *Tokens) makeFirst(ctx context.Context) error {
	err := t.add(ctx, func(keys []*key) error {
		if hasNext(keys) {
			return errHaveKey // another server was first
		}
		return nil
	})
	if errors.Is(err, errHaveKey) {
		return nil
	}
	return err
}

// add stores a new key, if check agrees to it in view of those whose tokens are
// good, and removes the others.
func (t *Tokens) add(ctx context.Context, check func([]*key) error) error {
	k, err := newKey(t.now())
	if err != nil {
		return err
	}
	return t.authority.UpdateRecords(ctx, recordPrefix, func(records map[string][]byte) (put []iam.Record, remove []string, err error) {
		incarnation, err := t.incarnation()
		if err != nil {
			return nil, nil, err
		}
		k.incarnation = incarnation
		record, err := k.record()
		if err != nil {
			return nil, nil, err
		}
		now := newRing(records, incarnation, t.now, nil)
		live := now.live(t.now())
		if err := check(live); err != nil {
			return nil, nil, err
		}
		put, remove = append(put, record), now.outlived
		for _, old := range now.keys {
			switch {
			case old.retired(t.now()):
				remove = append(remove, old.recordName())
			case old.retire.IsZero():
				replaced := *old
				replaced.retire = k.made.Add(announced + t.lifetime + margin)
				record, err := replaced.record()
				if err != nil {
					return nil, nil, err
				}
				put = append(put, record)
			}
		}
		return put, remove, nil
	})
}

const (
	// retryPause is how long Run waits after it could not store the first key.
	retryPause = 5 * time.Second
	// keyPause is how long to wait before looking again for a key.
	keyPause = 100 * time.Millisecond
)

// Run makes the first key of the store, and lets go of all keys as soon as the
// store is sealed. It returns when ctx is done.
func (t *Tokens) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed, wanted := t.authority.Changed(), t.wanted
		r := t.current()
		var retry <-chan time.Time
		if _, err := t.authority.Directory(); err == nil && !hasNext(r.keys) {
			if err := t.makeFirst(ctx); err != nil && ctx.Err() == nil {
				t.log.Error("could not store a key that signs tokens, so nobody can sign in", zap.Error(err))
				wanted, retry = nil, time.After(retryPause)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-wanted:
		case <-retry:
		}
	}
}
