package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
)

func testBackend(t *testing.T) *Backend {
	t.Helper()
	b, err := Open(t.Context(), filepath.Join(t.TempDir(), "secrets.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// lastTx returns the number of the last transaction that was committed.
func lastTx(t *testing.T, b *Backend) int {
	t.Helper()
	id := 0
	if err := b.current.Load().db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestConcurrentWritesShareTransactions(t *testing.T) {
	b := testBackend(t)
	const writers, each = 64, 5
	before := lastTx(t, b)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := b.Apply(t.Context(), store.Create(fmt.Sprintf("%d/%d", w, i), []byte("x"))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if used := lastTx(t, b) - before; used > writers*each/2 {
		t.Errorf("%d writes took %d transactions", writers*each, used)
	}
}

// TestWritesOnAHungDiskReportTheirOutcomeAtTheDeadline: a write that has started
// ends with ErrOutcomeUnknown. One that is still waiting ends with
// ErrUnavailable, and has no effect later.
func TestWritesOnAHungDiskReportTheirOutcomeAtTheDeadline(t *testing.T) {
	b := testBackend(t)
	hung, err := b.current.Load().db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, pass := context.WithCancelCause(t.Context())
	started := make(chan error, 1)
	go func() {
		_, err := b.Apply(ctx, store.Create("started", []byte("x")))
		started <- err
	}()
	for !slices.ContainsFunc(stacks(), func(stack string) bool { return strings.Contains(stack, "bbolt.(*DB).beginRWTx(") }) {
		time.Sleep(time.Millisecond)
	}
	pass(context.DeadlineExceeded)
	if err := <-started; !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("started: %v, want ErrOutcomeUnknown", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = b.Apply(ctx, store.Create("queued", []byte("x")))
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("queued: %v, want ErrUnavailable", err)
	}
	if err := hung.Rollback(); err != nil {
		t.Fatal(err)
	}
	// Later writes are queued after the one that has started.
	if _, err := b.Apply(t.Context(), store.Create("later", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "started", store.Latest); err != nil {
		t.Errorf("started: %v", err)
	}
	if _, err := b.Get(t.Context(), "queued", store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("queued: %v, want ErrNotFound", err)
	}
}

// TestCallsDuringAHungCompactReportTheirOutcome: while Compact waits, here for a
// read that does not end, other reads succeed. Writes and Compact itself end when
// their contexts do, and report their outcome.
func TestCallsDuringAHungCompactReportTheirOutcome(t *testing.T) {
	b := testBackend(t)
	if _, err := b.Apply(t.Context(), store.Create("a", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	hung, err := b.current.Load().db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	old := b.current.Load()
	ctx, cancel := context.WithCancel(t.Context())
	compacted := make(chan error, 1)
	go func() { compacted <- b.Compact(ctx) }()
	for b.current.Load() == old {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-compacted; !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("Compact: %v, want ErrOutcomeUnknown", err)
	}
	for what, err := range map[string]error{
		"a write":         func() error { _, err := b.Apply(soon(), store.Create("b", []byte("x"))); return err }(),
		"another Compact": b.Compact(soon()),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
	if _, err := b.Get(t.Context(), "a", store.Latest); err != nil {
		t.Errorf("Get: %v", err)
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if err := hung.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), store.Create("b", []byte("x"))); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// A broken backend has released its lock, so it must not replace the file.
func TestCompactOfABrokenBackendReplacesNothing(t *testing.T) {
	b := testBackend(t)
	c := &compaction{b: b, ctx: t.Context(), done: make(chan struct{})}
	fresh, err := c.rewrite(b.path + unfinished)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.shut()
	b.breakDown(errors.New("test"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.takeOver(fresh, b.path); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("takeOver: %v", err)
	}
	if fresh.isAt(b.path) {
		t.Error("the file was replaced")
	}
}

// A caller that gave up while the copy was made got ErrUnavailable, so there must
// be no effect.
func TestWithdrawnCompactReplacesNothing(t *testing.T) {
	b := testBackend(t)
	c := &compaction{b: b, ctx: t.Context(), done: make(chan struct{})}
	c.state.Store(withdrawn)
	old := b.current.Load()
	if err := c.run(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("compact: %v", err)
	}
	if b.current.Load() != old || !old.isAt(b.path) {
		t.Error("the file was replaced")
	}
}

// blocked reports whether a goroutine with function on its stack is blocked in a
// select or a channel operation.
func blocked(function string) bool {
	for _, stack := range stacks() {
		head, rest, _ := strings.Cut(stack, "\n")
		if strings.Contains(rest, function) && (strings.Contains(head, "[select") || strings.Contains(head, "[chan")) {
			return true
		}
	}
	return false
}

// stacks returns those of all goroutines.
func stacks() []string {
	all := make([]byte, 1<<20)
	return strings.Split(string(all[:runtime.Stack(all, true)]), "\n\n")
}

// Close must end calls that wait for the writer.
func TestCloseEndsWaitingWrites(t *testing.T) {
	b := testBackend(t)
	hung, err := b.current.Load().db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	started := newRequest([]store.Op{store.Create("started", []byte("x"))})
	b.requests <- started // the writer is busy with it
	for started.state.Load() == waiting {
		time.Sleep(time.Millisecond)
	}
	queued := make(chan error, 1)
	go func() {
		_, err := b.Apply(t.Context(), store.Create("queued", []byte("x")))
		queued <- err
	}()
	for !blocked("bolt.(*Backend).Apply(") {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	if err := <-queued; !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("queued: %v, want ErrUnavailable", err)
	}
	if err := hung.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if <-started.done; started.err != nil {
		t.Errorf("started: %v", started.err)
	}
}

func TestWithdrawnRequestHasNoEffect(t *testing.T) {
	b := testBackend(t)
	r := newRequest([]store.Op{store.Create("a", []byte("x"))})
	r.state.Store(withdrawn)
	writer{b}.commit([]*request{r})
	if _, err := b.Get(t.Context(), "a", store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestDamagedRecordFailsOnlyItsRequests: other requests in the same transaction
// succeed.
func TestDamagedRecordFailsOnlyItsRequests(t *testing.T) {
	b := testBackend(t)
	err := b.current.Load().db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(recordsBucket).Put([]byte("damaged"), []byte("short"))
	})
	if err != nil {
		t.Fatal(err)
	}
	before := newRequest([]store.Op{store.Create("before", []byte("x"))})
	bad := newRequest([]store.Op{store.Create("with", []byte("x")), store.Set("damaged", []byte("x"), 1)})
	refused := newRequest([]store.Op{store.Create("before", []byte("x"))})
	after := newRequest([]store.Op{store.Create("after", []byte("x"))})
	writer{b}.commit([]*request{before, bad, refused, after})

	if before.err != nil || after.err != nil {
		t.Errorf("before: %v, after: %v", before.err, after.err)
	}
	if !errors.Is(bad.err, ErrDamaged) || !strings.Contains(bad.err.Error(), b.path) || !strings.Contains(bad.err.Error(), "damaged") {
		t.Errorf("the request with the damaged record: %v", bad.err)
	}
	if !errors.Is(refused.err, store.ErrExists) {
		t.Errorf("refused: %v", refused.err)
	}
	for key, want := range map[string]error{"before": nil, "after": nil, "with": store.ErrNotFound, "damaged": ErrDamaged} {
		if _, err := b.Get(t.Context(), key, store.Latest); !errors.Is(err, want) {
			t.Errorf("Get(%s): %v, want %v", key, err, want)
		}
	}
}

// TestFailedCommitFailsEveryRequestInIt: this includes a request that was refused
// because of an earlier one in the same transaction, which has no effect now.
func TestFailedCommitFailsEveryRequestInIt(t *testing.T) {
	b := testBackend(t)
	_ = b.current.Load().file.Close() // no later write reaches the disk
	first := newRequest([]store.Op{store.Create("a", []byte("x"))})
	second := newRequest([]store.Op{store.Create("a", []byte("x"))})
	writer{b}.commit([]*request{first, second})
	for _, r := range []*request{first, second} {
		if !errors.Is(r.err, store.ErrUnavailable) || errors.Is(r.err, store.ErrOutcomeUnknown) || r.versions != nil {
			t.Errorf("%v, versions %v", r.err, r.versions)
		}
	}
	if _, err := b.Get(t.Context(), "a", store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
}

func TestFailedCommitChecksTheMetaPageForItsOutcome(t *testing.T) {
	b := testBackend(t)
	cause := errors.New("disk failure")
	if err := (writer{b}).afterFailedCommit(lastTx(t, b)+1, cause); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("its meta page is not there: %v, want ErrUnavailable", err)
	}
	if _, err := b.Apply(t.Context(), store.Create("a", []byte("x"))); err != nil {
		t.Errorf("the next write: %v", err)
	}
	if err := (writer{b}).afterFailedCommit(lastTx(t, b), cause); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("its meta page is there: %v, want ErrOutcomeUnknown", err)
	}
	_, err := b.Apply(t.Context(), store.Create("b", []byte("x")))
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, cause) {
		t.Errorf("a write after that: %v", err)
	}
	if _, err := b.Get(t.Context(), "a", store.Latest); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read after that: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestCreateBelowARecordDeletedInTheSameTransaction(t *testing.T) {
	b := testBackend(t)
	v, err := b.Apply(t.Context(), store.Create("a", []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), store.Delete("a", v[0]), store.Create("a/b", []byte("x"))); err != nil {
		t.Error(err)
	}
}

// TestChildrenDoesNotWalkThroughGrandchildren: children checks its context every
// checkEvery steps. Under an ended context, it can finish only if it skips the
// records below the children.
func TestChildrenDoesNotWalkThroughGrandchildren(t *testing.T) {
	b := testBackend(t)
	for _, folder := range []string{"p/a/", "p/b/c/"} {
		for i := 0; i < 2*checkEvery; i += 256 {
			var ops []store.Op
			for j := range 256 {
				ops = append(ops, store.Create(fmt.Sprintf("%sk%d", folder, i+j), []byte("x")))
			}
			if _, err := b.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	list := func(prefix string) (names []string, err error) {
		_ = b.current.Load().db.View(func(tx *bbolt.Tx) error {
			var list store.Listing
			list, err = children(ended, tx.Bucket(recordsBucket), []byte(prefix))
			names = list.Names
			return nil
		})
		return names, err
	}
	if names, err := list("p/"); err != nil || len(names) != 2 {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := list("p/a/"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a long list under an ended context: %v", err)
	}
}

// TestMalformedKeysInTheFileAreCounted writes them into the file, as only another
// program does: the listing has the other names.
func TestMalformedKeysInTheFileAreCounted(t *testing.T) {
	b := testBackend(t)
	keys := []string{"p/", "p//x", "p/o k", "p/" + strings.Repeat("c", store.MaxComponent+1), "p/\xff/y", "p/\xff/z"}
	err := b.current.Load().db.Update(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		for _, key := range append(keys, "p/x/", "p/z") {
			if err := records.Put([]byte(key), make([]byte, 20)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.Children(t.Context(), "p", store.Latest)
	if err != nil || !slices.Equal(list.Names, []string{"x", "z"}) || list.Foreign != 4 { // "", "o k", the long one, "\xff"
		t.Errorf("%+v, %v", list, err)
	}
	list, err = b.Children(t.Context(), "p/x", store.Latest)
	if err != nil || len(list.Names) > 0 || list.Foreign != 1 {
		t.Errorf("below x: %+v, %v", list, err)
	}
	// What is under z has no version, and so is not a record.
	if _, err := b.Get(t.Context(), "p/z", store.Latest); !errors.Is(err, store.ErrUnusable) || !errors.Is(err, ErrDamaged) {
		t.Errorf("a value that is not a record: %v", err)
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "12345678", "\x00\x00\x00\x00\x00\x00\x00\x01x", "\xff\xff\xff\xff\xff\xff\xff\xffx"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		data, version, err := split(value)
		if err != nil {
			if data != nil || version != 0 || !errors.Is(err, ErrDamaged) {
				t.Errorf("%v with %d bytes at %d", err, len(data), version)
			}
			return
		}
		if len(data) == 0 || len(data) > store.MaxData || version <= 0 {
			t.Errorf("accepted %d bytes at %d", len(data), version)
		}
	})
}

// TestAChangeOnItsWayStaysNoted: the transaction that has begun before its commit does
// not see it.
func TestAChangeOnItsWayStaysNoted(t *testing.T) {
	s, sn := &snapshots{}, &snapshot{ask: store.Snapshot{Below: []store.Key{"p"}}}
	batch := []*request{{changed: []store.Key{"p/a", "q"}}}
	late := &snapshot{ask: sn.ask}
	s.begin(sn)
	s.note(batch)
	s.begin(late)
	for _, step := range []struct {
		when string
		want int
	}{{"first", 1}, {"on its way", 1}, {"done", 1}, {"done and taken", 0}} {
		if step.when == "done" {
			s.settled()
		}
		for name, sn := range map[string]*snapshot{"begun before": sn, "begun after": late} {
			if got := s.takeChanged(sn); len(got) != step.want || len(got) == 1 && got[0] != "p/a" {
				t.Errorf("%s, %s: %q", name, step.when, got)
			}
		}
	}
	s.end(sn)
	s.end(late)
	if s.note(batch); len(s.all) != 0 || len(sn.changed) != 0 {
		t.Error("a snapshot that has ended still notes changes")
	}
}
