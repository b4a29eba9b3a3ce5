//go:build zookeeper

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/internal/zktest"
	"secretstore/store"
)

// patient is longer than anything takes that is not to fail.
const patient = 15 * time.Second

// dial returns a session that is tended and retired.
func dial(t *testing.T, addr string, change func(*Config)) *Session {
	t.Helper()
	cfg := Config{Server: addr, Address: addr, Timeout: patient, Unanswered: patient, MaxRequest: 8 << 10, Log: zap.NewNop()}
	if change != nil {
		change(&cfg)
	}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var tending sync.WaitGroup
	tending.Go(func() { s.Tend("/") })
	t.Cleanup(func() {
		s.Retire()
		tending.Wait()
	})
	return s
}

func admitted(t *testing.T, addr string, change func(*Config)) *Session {
	t.Helper()
	s := dial(t, addr, change)
	if err := s.Admit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCallsOnAServerThatHangsEnd(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	s := admitted(t, server.Addr(), func(c *Config) { c.Unanswered = 5 * time.Second })
	server.Pause()
	defer server.Resume()
	if _, err := s.Get(context.Background(), "/"); !errors.Is(err, ErrLost) {
		t.Errorf("a call: %v, want %v", err, ErrLost)
	}
	<-s.Ended()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("ended with %v", err)
	}
	if _, err := s.Get(context.Background(), "/"); !errors.Is(err, ErrLost) {
		t.Errorf("a call afterwards: %v, want %v", err, ErrLost)
	}
}

func TestASilentServerIsAskedWhetherItLives(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	s := admitted(t, server.Addr(), func(c *Config) { c.Unanswered = 5 * time.Second })
	server.Pause()
	defer server.Resume()
	<-s.Ended() // without a call of ours
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why, release := errors.New("the caller has left"), make(chan struct{})
	defer close(release)
	go cancel(why)
	_, err := Do(ctx, s, func(*zkc.Conn) (int, error) {
		<-release
		return 0, nil
	})
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, why) {
		t.Error(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the session ended as well: %v", err)
	}
}

func TestARefusedConnectionSaysSo(t *testing.T) {
	t.Parallel()
	s := dial(t, "127.0.0.1:1", nil)
	if err := s.Admit(t.Context(), time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}

func TestARefusedTransactionNamesItsCulprit(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	results, err := s.Transact(t.Context(), &zkc.CheckVersionRequest{Path: "/", Version: -1}, &zkc.CheckVersionRequest{Path: "/none", Version: -1})
	if !errors.Is(err, ErrRefused) || !errors.Is(err, zkc.ErrNoNode) || !Answered(err) || Culprit(results) != 1 {
		t.Errorf("%v, %v", results, err)
	}
}

// TestAfterAPauseTheServerIsAskedFirst pretends that Tend has not run for long.
func TestAfterAPauseTheServerIsAskedFirst(t *testing.T) {
	t.Parallel()
	awake := make(chan struct{}, 1)
	s := admitted(t, zktest.Shared(t), func(c *Config) { c.OnAwake = func() { awake <- struct{}{} } })
	before, _ := s.Paused()
	s.ticked.Store(Now() - int64(2*pause))
	if count, now := s.Paused(); count == before && s.pauses.Load() == before && !now {
		t.Error("the pause is not seen before Tend counts it")
	}
	<-awake
	if count, _ := s.Paused(); count <= before || s.Awake() <= before {
		t.Errorf("%d pauses, awake after %d, and %d before", count, s.Awake(), before)
	}
}

func TestEventsComeBeforeLaterReplies(t *testing.T) {
	t.Parallel()
	addr := zktest.Shared(t)
	var mu sync.Mutex
	var seen []string
	s := admitted(t, addr, func(c *Config) {
		c.OnEvent = func(ev zkc.Event) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, ev.Path)
		}
	})
	other := admitted(t, addr, nil)
	if _, err := Do(t.Context(), s, func(c *zkc.Conn) (bool, error) {
		time.Sleep(25 * time.Millisecond) // the library may set early watches twice
		exists, _, _, err := c.ExistsW("/events")
		return exists, err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Transact(t.Context(), &zkc.CreateRequest{Path: "/events", Data: []byte("x"), Acl: zkc.WorldACL(zkc.PermAll)}); err != nil {
		t.Fatal(err)
	}
	if err := s.SyncPoint(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen[0] != "/events" {
		t.Errorf("events of %q before the reply", seen)
	}
}

func TestCallersShareSyncPoints(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	r := NewSyncer()
	if got := r.Sync(t.Context()); got != nil {
		t.Error("a sync point without a session")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.Begin()
	const callers = 100
	got := make(chan *Session, callers)
	for range callers {
		go func() { got <- r.Sync(t.Context()) }()
	}
	for waiting := 0; waiting < callers; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		waiting = len(r.waiting)
		r.mu.Unlock()
	}
	var serving sync.WaitGroup
	serving.Go(func() { r.Serve(ctx, s, "/", nil) })
	for range callers {
		if <-got != s {
			t.Error("no sync point")
		}
	}
	cancel()
	serving.Wait()
	if got := r.Sync(t.Context()); got != nil {
		t.Error("a sync point after the end")
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got := r.Await(soon, time.Minute, nil); got != nil {
		t.Error("a session out of nowhere")
	}
}

func TestAFailedSyncPointFailsTheSession(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	r := NewSyncer()
	r.Begin()
	done := make(chan *Session)
	go func() { done <- r.Sync(t.Context()) }()
	r.Serve(t.Context(), s, "/no/such/path", nil)
	if <-done != nil {
		t.Error("a sync point on a path that does not exist")
	}
	if err := s.Err(); !errors.Is(err, ErrLost) {
		t.Errorf("the session: %v", err)
	}
}

// TestARefusedCheckRefusesNoOther: all callers share one transaction.
func TestARefusedCheckRefusesNoOther(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	for wrong := range maxRefusals + 1 {
		var waiting []waiter
		ask := func(path string, version int32) chan *Session {
			done := make(chan *Session, 1)
			waiting = append(waiting, waiter{zkc.CheckVersionRequest{Path: path, Version: version}, done})
			return done
		}
		var bad []chan *Session
		for i := range wrong {
			bad = append(bad, ask(fmt.Sprint("/none", i), 0), ask(fmt.Sprint("/none", i), 0))
		}
		good, plain := ask("/", 0), ask("", 0)
		if err := pass(t.Context(), s, "/", waiting); err != nil {
			t.Fatal(err)
		}
		if got := <-plain; got != s {
			t.Errorf("beside %d wrong versions: no sync point", wrong)
		}
		if confirmed, want := <-good == s, wrong < maxRefusals; confirmed != want {
			t.Errorf("beside %d wrong versions: confirmed %v, want %v", wrong, confirmed, want)
		}
		for _, done := range bad {
			if <-done != nil {
				t.Error("a znode that does not exist was confirmed")
			}
		}
	}
}

func TestMoreCallersThanShareASyncPointAreAllAnswered(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	r := NewSyncer()
	r.Begin()
	const callers = 2*maxWaiting + 1
	for range callers {
		r.waiting = append(r.waiting, waiter{done: make(chan *Session, 1)})
	}
	all := slices.Clone(r.waiting)
	r.poke()
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { r.Serve(ctx, s, "/", nil) })
	for _, w := range all {
		if <-w.done != s {
			t.Error("no sync point")
		}
	}
	cancel()
	serving.Wait()
}

func TestMakePathMakesWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := admitted(t, zktest.Shared(t), nil)
	for range 2 {
		if err := s.MakePath(t.Context(), "/made/by/test", zkc.WorldACL(zkc.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	if stat, err := s.Exists(t.Context(), "/made/by/test"); err != nil || stat == nil {
		t.Errorf("%v, %v", stat, err)
	}
	if stat, err := s.Exists(t.Context(), "/made/by/others"); err != nil || stat != nil {
		t.Errorf("%v, %v", stat, err)
	}
}
