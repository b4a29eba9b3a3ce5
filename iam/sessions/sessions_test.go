package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/iam"
	"secretstore/iam/sessions"
)

// records are an Authority in memory.
type records struct {
	all     map[string][]byte
	changed chan struct{}
	away    error
	lost    bool
}

func newRecords() *records {
	return &records{all: make(map[string][]byte), changed: make(chan struct{})}
}

func (r *records) Directory() (*iam.Directory, error) { return nil, r.away }
func (r *records) Changed() <-chan struct{}           { return r.changed }
func (r *records) Lost(string) bool                   { return r.lost }

func (r *records) Records(prefix string) map[string][]byte {
	found := maps.Clone(r.all)
	maps.DeleteFunc(found, func(name string, _ []byte) bool { return !strings.HasPrefix(name, prefix) })
	return found
}

func (r *records) UpdateRecords(_ context.Context, prefix string, f func(map[string][]byte) ([]iam.Record, []string, error)) error {
	put, remove, err := f(r.Records(prefix))
	if err != nil {
		return err
	}
	for _, p := range put {
		r.all[p.Name] = p.Data
	}
	for _, name := range remove {
		delete(r.all, name)
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

func TestEndedSessionsAreKnownToAllServers(t *testing.T) {
	r, now := newRecords(), time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	here, there := sessions.New(r, clock), sessions.New(r, clock)
	want := func(uid, id string, ended bool) {
		t.Helper()
		for _, e := range []*sessions.Ended{here, there} {
			if got, err := e.Has(uid, id); err != nil || got != ended {
				t.Errorf("%s of %s: %t, %v", id, uid, got, err)
			}
		}
	}
	end := func(uid, id string, lasts time.Duration) {
		t.Helper()
		if err := here.End(t.Context(), uid, id, now.Add(lasts)); err != nil {
			t.Fatal(err)
		}
	}
	want("alice", "1", false)
	end("alice", "1", time.Hour)
	want("alice", "1", true)
	want("bob", "1", false)

	// Records whose time is over make room with the next end.
	now = now.Add(2 * time.Hour)
	end("bob", "2", time.Hour)
	want("alice", "1", false)

	// A user who signs out often can only have own sessions forgotten.
	for i := range 150 {
		now = now.Add(time.Second)
		end("mallory", fmt.Sprint(i), time.Hour)
	}
	want("bob", "2", true)
	want("mallory", "149", true)
	want("mallory", "50", true)
	want("mallory", "49", false)
	if len(r.all) != 101 {
		t.Errorf("%d records", len(r.all))
	}

	r.lost = true
	if _, err := here.Has("alice", "x"); !errors.Is(err, sessions.ErrLost) {
		t.Errorf("a record that was lost: %v", err)
	}
	r.away = errors.New("sealed")
	if _, err := here.Has("bob", "2"); err == nil {
		t.Error("a store that is sealed knows which sessions were ended")
	}
}

// slow are records of which each change waits.
type slow struct {
	*records
	mu      sync.Mutex
	waiting int // guarded by mu
	proceed chan struct{}
}

func (s *slow) UpdateRecords(ctx context.Context, prefix string, f func(map[string][]byte) ([]iam.Record, []string, error)) error {
	s.mu.Lock()
	s.waiting++
	s.mu.Unlock()
	<-s.proceed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	return s.records.UpdateRecords(ctx, prefix, f)
}

// TestAUserEndsOneSessionAtATime: others are not kept waiting by it.
func TestAUserEndsOneSessionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slow{records: newRecords(), proceed: make(chan struct{})}
		e := sessions.New(r, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		until := time.Now().Add(time.Hour)
		errs := make(chan error, 10)
		end := func(ctx context.Context, uid, id string) { go func() { errs <- e.End(ctx, uid, id, until) }() }
		waiting := func(want int) {
			t.Helper()
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.waiting != want {
				t.Errorf("%d changes at once, not %d", r.waiting, want)
			}
		}
		end(t.Context(), "mallory", "0")
		waiting(1)
		for n := range 3 {
			end(t.Context(), "mallory", fmt.Sprint(n+1))
		}
		end(ctx, "mallory", "given up")
		waiting(1)
		end(t.Context(), "alice", "0")
		waiting(2)
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		for range 5 {
			r.proceed <- struct{}{}
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		for _, id := range []string{"0", "1", "2", "3"} {
			if ended, err := e.Has("mallory", id); err != nil || !ended {
				t.Errorf("%s: %t, %v", id, ended, err)
			}
		}
	})
}
