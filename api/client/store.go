package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// readAtOnce bounds the reads of NewStore that are under way.
	readAtOnce = 8
	// pollEvery is the pause between requests to a server that answers a watch
	// at once without a change: an old one, which does not know watches.
	pollEvery = 10 * time.Second
)

// StoreConfig says what a Store keeps.
type StoreConfig struct {
	// Paths are the secrets. They need not exist yet.
	Paths []string
	// Service is as in GetOptions.
	Service *string
	// OnChange, if not nil, is called after a secret was created, changed or
	// deleted: one call at a time, from a goroutine of the Store. It may call
	// Get, and must not call Close.
	OnChange func(path string)
}

// Store keeps a few secrets in memory and follows their changes, with one watch
// for each. While the server is away or sealed, it returns the last known
// values and their age. Make it with NewStore, and close it. Its methods may be
// called from many goroutines.
type Store struct {
	client  *Client
	cfg     StoreConfig
	end     context.CancelFunc
	running sync.WaitGroup
	calling sync.Mutex // held while OnChange runs

	mu   sync.Mutex
	held map[string]*held // by path; the map itself never changes; what it holds is guarded by mu
}

// held is what is known of one secret.
type held struct {
	secret    Secret    // the last known value; without an ETag there is none
	refused   error     // why there is none: ErrNotFound, ErrDenied
	confirmed time.Time // when the server last confirmed this
	away      error     // why the server does not confirm it now; nil if it does
}

// ErrNotKept is returned by Store.Get for a path that was not in StoreConfig.
var ErrNotKept = errors.New("not one of the secrets that the store keeps")

// NewStore reads the secrets once, and begins to watch them. It fails if one of
// them cannot be read, unless that does not exist; Config.Retries applies. The
// context is only for the start.
func NewStore(ctx context.Context, c *Client, cfg StoreConfig) (*Store, error) {
	s := &Store{client: c, cfg: cfg, held: make(map[string]*held)}
	for _, p := range cfg.Paths {
		s.held[keptAs(p)] = &held{}
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(readAtOnce)
	for path, h := range s.held {
		group.Go(func() error {
			secret, err := c.Get(reading, path, GetOptions{Service: cfg.Service})
			if _, err := s.take(h, secret, err); err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end = end
	for path, h := range s.held {
		s.running.Go(func() { s.follow(run, path, h) })
	}
	return s, nil
}

// Close ends the watches, and waits for them and for OnChange to return.
func (s *Store) Close() {
	s.end()
	s.running.Wait()
}

// keptAs returns one spelling for all spellings of a path.
func keptAs(path string) string {
	return strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), "/")
}

// Get returns a secret without asking the server. Its Age is 0 while the server
// confirms the value with a watch, and otherwise how long ago it last did; Away
// says why. ErrNotFound if the secret does not exist, ErrDenied if the
// permission to read it was withdrawn, ErrNotKept.
//
// The value is shared with other callers and must not be changed.
func (s *Store) Get(path string) (Secret, error) {
	h := s.held[keptAs(path)]
	if h == nil {
		return Secret{}, ErrNotKept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.refused != nil {
		return Secret{}, h.refused
	}
	secret := h.secret
	if h.away != nil {
		secret.Age += time.Since(h.confirmed)
	}
	return secret, nil
}

// Away returns why the server does not confirm the value of a secret now, or
// nil if it does. ErrNotKept.
func (s *Store) Away(path string) error {
	h := s.held[keptAs(path)]
	if h == nil {
		return ErrNotKept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.away
}

// follow watches one secret until ctx ends.
func (s *Store) follow(ctx context.Context, path string, h *held) {
	backOff := newBackOff(0)
	for {
		known, away := s.known(h)
		o := WatchOptions{Service: s.cfg.Service}
		if away {
			o.Timeout = time.Millisecond // first check whether it is back
		}
		secret, err := s.client.Watch(ctx, path, known, o)
		if ctx.Err() != nil {
			return
		}
		changed, failed := s.take(h, secret, err)
		if changed && s.cfg.OnChange != nil {
			s.calling.Lock()
			s.cfg.OnChange(path)
			s.calling.Unlock()
		}
		var pause time.Duration
		switch {
		case failed != nil:
			pause = pauseAfter(backOff, failed)
		case changed || errors.Is(err, ErrNotModified):
			backOff.Reset()
			continue
		default: // the server said nothing new, and did not wait
			backOff.Reset()
			pause = pollEvery
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// known returns the last known ETag, and whether the server is away.
func (s *Store) known(h *held) (etag string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.secret.ETag, h.away != nil
}

// take keeps the result of a read or a watch, and returns whether the secret
// has changed, or the failure if the result says nothing about the secret.
func (s *Store) take(h *held, secret Secret, err error) (changed bool, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := refused(err)
	var same *Error
	switch {
	case err == nil && secret.ETag == "":
		h.away = errNotJSON // not from a secret store that has watches
		return false, h.away
	case err == nil:
		changed = h.refused != nil || h.secret.ETag != secret.ETag
		h.secret, h.refused = secret, nil
	case errors.Is(err, ErrNotModified) && errors.As(err, &same) && h.secret.ETag != "":
		h.secret.Age = same.age
	case errors.Is(err, ErrNotModified), refusal != nil:
		if refusal == nil {
			refusal = ErrNotFound // the watch was for a secret that does not exist
		}
		changed = h.refused != refusal
		h.secret, h.refused = Secret{}, refusal
	default:
		h.away = err
		return false, err
	}
	h.away, h.confirmed = nil, time.Now()
	return changed, nil
}

// refused returns ErrNotFound or ErrDenied for an answer of the secret store
// itself that says so, and nil otherwise: the answer of a proxy, or of another
// server in its place, must not remove a value.
func refused(err error) error {
	var e *Error
	if !errors.As(err, &e) || !e.own {
		return nil
	}
	switch {
	case e.Status == http.StatusNotFound && strings.Contains(e.Description, "does not exist"):
		return ErrNotFound
	case e.Status == http.StatusForbidden:
		return ErrDenied
	}
	return nil
}
