package body

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
)

func user(name string) pool.Principal { return pool.Of(acl.Principal{UID: name}) }

func send(ctx context.Context, text string) *Body {
	return Of(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPut, "/", strings.NewReader(text)))
}

func isBusy(t *testing.T, err error, words string) {
	t.Helper()
	if p := problem.Of(err); p.Status != http.StatusServiceUnavailable || !p.Retry || !strings.Contains(p.Text, words) {
		t.Errorf("%+v, want a 503 with %q", p, words)
	}
}

// TestABodyClaimsItsAnnouncedSize in the share of its principal, which keeps
// neither others waiting nor small bodies.
func TestABodyClaimsItsAnnouncedSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1)
		large, limit := strings.Repeat("x", Small+1), Limit{Bytes: 1 << 20}
		content, release, err := b.Read(send(t.Context(), large), user("alice"), limit)
		if err != nil || string(content) != large || b.bodies.Used() != int64(len(large)) {
			t.Fatalf("%d bytes, %d claimed, %v", len(content), b.bodies.Used(), err)
		}
		release()
		share, err := take(t.Context(), b.bodies, user("alice"), BudgetBytes/8)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Read(send(t.Context(), large), user("alice"), limit)
		isBusy(t, err, "of this user")
		if content, _, err := b.Read(send(t.Context(), "small"), user("alice"), limit); err != nil || string(content) != "small" {
			t.Errorf("a small body waits for large ones: %q, %v", content, err)
		}
		if _, release, err = b.Read(send(t.Context(), large), user("bob"), limit); err != nil {
			t.Fatalf("another user waits too: %v", err)
		}
		release()
		for i := range 7 {
			if _, err := take(t.Context(), b.bodies, user(fmt.Sprint(i)), BudgetBytes/8); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err = b.Read(send(t.Context(), large), user("bob"), limit)
		isBusy(t, err, "too many large requests at once")
		if _, err := b.Reserve(t.Context(), user("bob"), 10); err != nil {
			t.Errorf("bodies make answers wait: %v", err)
		}
		share.Release()
		if _, _, err = b.Read(send(t.Context(), large), user("bob"), limit); err != nil {
			t.Error(err)
		}
	})
}

// clock is a connection that a client trickles into: it gives one byte for each
// interval, and ends at its deadline.
type clock struct {
	*httptest.ResponseRecorder
	every    time.Duration
	deadline time.Time
}

func (c *clock) SetReadDeadline(t time.Time) error { c.deadline = t; return nil }

func (c *clock) Read(p []byte) (int, error) {
	next := time.Now().Add(c.every)
	if !c.deadline.IsZero() && next.After(c.deadline) {
		time.Sleep(time.Until(c.deadline))
		return 0, context.DeadlineExceeded
	}
	time.Sleep(c.every)
	n := min(len(p), 1<<10)
	return n, nil
}

// TestABodyArrivesAtAMinimumRate: a client that announces much and sends little
// loses its claim soon, and one that is slow but fast enough does not.
func TestABodyArrivesAtAMinimumRate(t *testing.T) {
	for _, row := range []struct {
		name  string
		every time.Duration // for 1 KiB
		good  bool
		ends  time.Duration
	}{
		{"nothing arrives", time.Hour, false, grace},
		{"too slow", time.Second, false, grace + time.Second},
		{"fast enough", time.Second / 40, true, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 1 << 20
				c := &clock{ResponseRecorder: httptest.NewRecorder(), every: row.every}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", io.LimitReader(c, size))
				r.ContentLength = size
				b, began := NewBudget(1), time.Now()
				content, release, err := b.Read(Of(c, r), user("alice"), Limit{Bytes: size})
				if took := time.Since(began); (err == nil) != row.good || took > row.ends {
					t.Errorf("%d bytes after %v: %v", len(content), took, err)
				}
				if err == nil {
					release()
				}
				if b.bodies.Used() != 0 {
					t.Error("the claim is left")
				}
			})
		})
	}
}
