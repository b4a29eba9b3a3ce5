package seal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"secretstore/store"
)

// Task tokens (package acl/token) are signed with a key of the keyring, so that
// every unsealed server can check them. How often one was used is counted in
// the storage, so that all servers count together:
//
//	stores/default/tasks/MINUTE       the tokens that expire in that minute (of 1970)
//	stores/default/tasks/MINUTE/ID    how often token ID was used, in decimal digits
//
// Nothing in there is secret: an id is not its token. Whoever can write to the
// storage can make a used token good again, if they also have the token.
const keyTasks store.Key = "stores/default/tasks"

// taskLabel derives the key of task tokens from the data key of a term. When
// the term leaves the keyring, its tokens go with it.
const taskLabel = "secretstore task tokens"

var (
	// ErrTaskSpent: the task token was used as often as it may be.
	ErrTaskSpent = errors.New("the task token is used up")
	// ErrTaskTerm: the term that a task token claims has left the keyring, or
	// never was in it.
	ErrTaskTerm = errors.New("no such term in the keyring")
	// ErrTaskTermAhead: the term that a task token claims is not in the keyring
	// yet, as far as this server knows: another has rotated a moment ago, or it is
	// made up, and the word of new keyrings is on its way in any case. It matches
	// store.ErrUnavailable.
	ErrTaskTermAhead = fmt.Errorf("a term of a keyring that is not known yet: %w", store.ErrUnavailable)
)

// TaskTerm returns the term whose key signs new task tokens. ErrSealed.
func (s *Store) TaskTerm() (term uint32, err error) {
	err = s.use(func(o *opened) error { term = o.ring.active; return nil })
	return term, err
}

// TaskMAC returns HMAC-SHA-256 of message under the key of task tokens of a
// term. ErrSealed, ErrTaskTerm, ErrTaskTermAhead.
func (s *Store) TaskMAC(term uint32, message []byte) (sum []byte, err error) {
	err = s.use(func(o *opened) error {
		key := o.ring.terms[term]
		switch {
		case key != nil:
		case term > o.ring.active:
			return ErrTaskTermAhead
		default:
			return ErrTaskTerm
		}
		derived := key.Derive(taskLabel, sha256.Size)
		defer clear(derived)
		mac := hmac.New(sha256.New, derived)
		mac.Write(message)
		sum = mac.Sum(nil)
		return nil
	})
	return sum, err
}

// TaskSpent returns ErrTaskSpent if a token that may be used so many times was
// used as often. Another server's use may be missed for some milliseconds;
// SpendTask decides.
func (s *Store) TaskSpent(ctx context.Context, id string, expires time.Time, uses int) error {
	used, _, err := s.taskUses(ctx, taskKey(id, expires), store.Cached)
	if err == nil && used >= uses {
		return ErrTaskSpent
	}
	return err
}

// SpendTask records one use of a token that may be used so many times, on all
// servers together. ErrTaskSpent if there is none left; ErrSealed,
// store.ErrUnavailable; store.ErrOutcomeUnknown: it may have been recorded.
func (s *Store) SpendTask(ctx context.Context, id string, expires time.Time, uses int) error {
	key := taskKey(id, expires)
	for consistency := store.Cached; ; consistency = store.Latest {
		used, version, err := s.taskUses(ctx, key, consistency)
		if err != nil {
			return err
		}
		if used >= uses {
			return ErrTaskSpent
		}
		err = s.commit(ctx, func(*opened) ([]store.Op, error) {
			count := []byte(strconv.Itoa(used + 1))
			if used == 0 {
				return []store.Op{store.Ensure(taskMinute(expires), []byte{taskMinuteFormat}), store.Create(key, count)}, nil
			}
			return []store.Op{store.Set(key, count, version)}, nil
		})
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != key {
			return err
		}
		// Somebody else has used it at this moment: count again.
		if ctx.Err() != nil {
			return fmt.Errorf("the uses of the token kept changing: %w", store.ErrUnavailable)
		}
	}
}

const taskMinuteFormat = '1'

func taskMinute(expires time.Time) store.Key {
	return fmt.Sprintf("%s/%d", keyTasks, expires.Unix()/60)
}

func taskKey(id string, expires time.Time) store.Key { return taskMinute(expires) + "/" + id }

// taskUses reads how often a token was used. What is not such a count is
// ErrCorrupt: a token is not made good again by spoiling its record.
func (s *Store) taskUses(ctx context.Context, key store.Key, c store.Consistency) (int, store.Version, error) {
	node, err := s.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", key, err)
	}
	used, err := strconv.Atoi(string(node.Data))
	if err != nil || used < 1 || strconv.Itoa(used) != string(node.Data) {
		return 0, 0, corrupt(key, errBadPayload)
	}
	return used, node.Version, nil
}

// tasksKept is how long the uses of an expired token are kept: as long as the
// clocks of two servers may differ. A use that is forgotten by one whose clock
// is ahead would be there again for all others.
const tasksKept = time.Hour

// collectTasks removes the records of tokens that have expired.
func (s *Store) collectTasks(ctx context.Context, now time.Time) error {
	minutes, err := s.backend.Children(ctx, keyTasks, store.Cached)
	if err != nil {
		return err
	}
	last := now.Add(-tasksKept).Unix() / 60
	for _, name := range minutes.Names {
		minute, err := strconv.ParseInt(name, 10, 64)
		if err != nil || minute >= last {
			continue // a foreign name is left alone
		}
		if err := s.removeTree(ctx, keyTasks+"/"+name); err != nil {
			return err
		}
	}
	return nil
}
