// Package uses counts how often task tokens are used, on all servers together,
// and signs them with a key of the keyring, so that every unsealed server can
// check them. Package acl/token has their format.
//
//	stores/default/tasks/MINUTE       the tokens that expire in that minute (since 1970)
//	stores/default/tasks/MINUTE/ID    how often token ID was used, in decimal digits
//
// Nothing in there is secret: an id is not its token. An attacker who can write
// to the storage, and also has a used token, can make it valid again.
package uses

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// keyLabel derives the key of task tokens from the data key of a term. When the
// term is removed from the keyring, its tokens become invalid, and so do all with a
// restore.
const keyLabel = "secretstore task tokens"

// The errors of package seal that concern task tokens. It documents them.
var (
	ErrSpent     = errors.New("the task token is used up")
	ErrTerm      = errors.New("no such term in the keyring")
	ErrTermAhead = fmt.Errorf("a term of a keyring that is not known yet: %w", store.ErrUnavailable)
)

// askTime bounds the question whether there is a newer keyring.
const askTime = 3 * time.Second

var errBadCount = errors.New("the record is not a count")

// Uses counts the uses of task tokens.
type Uses struct {
	backend store.Backend
	barrier *barrier.Barrier
	asking  singleflight.Group // for keyringVersion, which any client can trigger
}

// New returns the uses that a backend records.
func New(backend store.Backend, b *barrier.Barrier) *Uses { return &Uses{backend: backend, barrier: b} }

// TaskTerm returns the term whose key signs new task tokens. ErrSealed.
func (u *Uses) TaskTerm() (term uint32, err error) {
	err = u.barrier.Use(func(k *barrier.Keys) error { term = k.Ring.Active; return nil })
	return term, err
}

// TaskMAC returns HMAC-SHA-256 of message under the key of task tokens of a
// term. ErrSealed, ErrTaskTerm, ErrTaskTermAhead; store.ErrUnavailable if it
// cannot find out which of the two it is.
func (u *Uses) TaskMAC(term uint32, message []byte) (sum []byte, err error) {
	var ahead *store.Version // of the keyring here, if the term is beyond it
	err = u.barrier.Use(func(k *barrier.Keys) error {
		key := k.Ring.Terms[term]
		switch {
		case key != nil:
		case term > k.Ring.Active:
			ahead = new(k.KeyringVersion)
			return nil
		default:
			return ErrTerm
		}
		derived := key.Derive(k.Ring.Incarnation.Label(keyLabel), sha256.Size)
		defer clear(derived)
		mac := hmac.New(sha256.New, derived)
		mac.Write(message)
		sum = mac.Sum(nil)
		return nil
	})
	if err != nil || ahead == nil {
		return sum, err
	}
	// Most such terms are made up. Only the storage knows whether another server
	// has rotated a moment ago.
	newest, err := u.keyringVersion()
	switch {
	case err != nil:
		return nil, err
	case newest != *ahead:
		return nil, ErrTermAhead
	}
	return nil, ErrTerm
}

// keyringVersion returns the version of the keyring in the storage, as it is at
// some time during the call. All callers together have one read under way.
func (u *Uses) keyringVersion() (store.Version, error) {
	ask := func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		n, err := u.backend.Get(ctx, barrier.KeyKeyring, store.Latest)
		return n.Version, err
	}
	answer, err, shared := u.asking.Do("", ask)
	if shared {
		// That read may have begun before this call. The next one has not.
		answer, err, _ = u.asking.Do("", ask)
	}
	if err != nil {
		return 0, err
	}
	return answer.(store.Version), nil
}

// TaskSpent returns ErrTaskSpent if a token that may be used so many times has been
// used up. It may miss another server's use for some milliseconds;
// SpendTask decides.
func (u *Uses) TaskSpent(ctx context.Context, id string, expires time.Time, uses int) error {
	used, _, err := u.count(ctx, countKey(id, expires), store.Cached)
	if err == nil && used >= uses {
		return ErrSpent
	}
	return err
}

// SpendTask records one use of a token that may be used so many times, on all
// servers together. ErrTaskSpent if there is none left; ErrSealed,
// store.ErrUnavailable; store.ErrOutcomeUnknown: it may have been recorded.
func (u *Uses) SpendTask(ctx context.Context, id string, expires time.Time, uses int) error {
	key := countKey(id, expires)
	for consistency := store.Cached; ; consistency = store.Latest {
		used, version, err := u.count(ctx, key, consistency)
		if err != nil {
			return err
		}
		if used >= uses {
			return ErrSpent
		}
		err = u.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) {
			count := []byte(strconv.Itoa(used + 1))
			if used == 0 {
				return []store.Op{store.Ensure(minuteKey(expires), []byte{minuteFormat}), store.Create(key, count)}, nil
			}
			return []store.Op{store.Set(key, count, version)}, nil
		})
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != key {
			return err
		}
		// Somebody has used it at the same time: count again.
		if ctx.Err() != nil {
			return fmt.Errorf("the uses of the token kept changing: %w", store.ErrUnavailable)
		}
	}
}

const minuteFormat = '1'

func minuteKey(expires time.Time) store.Key {
	return fmt.Sprintf("%s/%d", barrier.KeyTasks, expires.Unix()/60)
}

func countKey(id string, expires time.Time) store.Key { return minuteKey(expires) + "/" + id }

// count reads how often a token was used. A record that is not a count is
// ErrCorrupt: spoiling it must not make a token valid again.
func (u *Uses) count(ctx context.Context, key store.Key, c store.Consistency) (int, store.Version, error) {
	node, err := u.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, barrier.ReadError(key, err)
	}
	used, err := strconv.Atoi(string(node.Data))
	if err != nil || used < 1 || strconv.Itoa(used) != string(node.Data) {
		return 0, 0, barrier.Corrupt(key, errBadCount)
	}
	return used, node.Version, nil
}

const (
	// collectEvery is how often the records of expired tokens are looked for.
	collectEvery = time.Minute
	// KeptFor is how long the uses of an expired token are kept: as long as the
	// clocks of two servers may differ. A server whose clock is ahead must not
	// forget a use while the token is valid for the others.
	KeptFor = time.Hour
)

// Run removes the uses of expired tokens until the context ends.
func Run(ctx context.Context, u *Uses, log *zap.Logger) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !u.barrier.IsOpen() {
			continue
		}
		if err := Collect(ctx, u, time.Now()); err != nil && ctx.Err() == nil {
			log.Warn("could not remove the uses of expired task tokens; retrying", zap.Error(err))
		}
	}
}

// Collect removes the uses of tokens that expired KeptFor before now.
func Collect(ctx context.Context, u *Uses, now time.Time) error {
	minutes, err := u.backend.Children(ctx, barrier.KeyTasks, store.Cached)
	if err != nil {
		return err
	}
	var failed error
	last := now.Add(-KeptFor).Unix() / 60
	for _, name := range minutes.Names {
		minute, err := strconv.ParseInt(name, 10, 64)
		if err != nil || minute >= last {
			continue // a foreign name is left alone
		}
		err = u.barrier.RemoveTree(ctx, barrier.KeyTasks+"/"+name)
		if errors.Is(err, store.ErrUnavailable) {
			return err
		}
		if err != nil {
			failed = err // of this minute, but not of the next
		}
	}
	return failed
}
