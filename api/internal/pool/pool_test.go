package pool

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"secretstore/acl"
)

func user(name string) Principal { return Of(acl.Principal{UID: name}) }

func task(t *testing.T, uid, service string) Principal {
	t.Helper()
	s, err := acl.ParseService(service)
	if err != nil {
		t.Fatal(err)
	}
	return Of(acl.Principal{UID: uid, Service: acl.BindTo(s)})
}

// TestNoPrincipalHasMoreThanAnEighth, nor all bound tokens together anything of
// the pool of the users.
func TestNoPrincipalHasMoreThanAnEighth(t *testing.T) {
	p := New(80, 0)
	var parts []*Part
	fill := func(who Principal, want int, end error) {
		t.Helper()
		for n := 0; ; n++ {
			part, err := p.TryTake(who, 1)
			if err != nil {
				if n != want || !errors.Is(err, end) {
					t.Errorf("%v has %d, want %d: %v", who, n, want, err)
				}
				return
			}
			parts = append(parts, part)
		}
	}
	for i := range 8 {
		fill(task(t, "scheduler", fmt.Sprintf("/app%d", i)), 10, ErrShare)
	}
	fill(task(t, "scheduler", "/late"), 0, ErrUsedUp)
	fill(user("scheduler"), 10, ErrShare) // it is not its tasks
	for i := range 7 {
		fill(user(fmt.Sprint("u", i)), 10, ErrShare)
	}
	fill(user("late"), 0, ErrUsedUp)
	if p.Used() != 160 {
		t.Errorf("%d used", p.Used())
	}
	for _, part := range parts {
		part.Release()
		part.Release()
	}
	if p.Used() != 0 || len(p.by) != 0 {
		t.Errorf("%d used, %d accounts are left", p.Used(), len(p.by))
	}
	fill(user("late"), 10, ErrShare)
}

// TestThoseWhoWaitForTheirShareKeepNobodyWaiting: one principal queues up many
// requests, and another is served at once.
func TestThoseWhoWaitForTheirShareKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(80, 0)
		greedy, err := p.TryTake(user("greedy"), 10)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan *Part, 100)
		for range 100 {
			go func() {
				part, err := p.Take(t.Context(), user("greedy"), 10)
				if err != nil {
					t.Error(err)
				}
				served <- part
			}()
		}
		synctest.Wait()
		other, err := p.TryTake(user("other"), 10)
		if err != nil {
			t.Fatalf("another principal waits too: %v", err)
		}
		other.Release()
		greedy.Release()
		for range 100 {
			part := <-served
			part.Shrink(4)
			part.Shrink(8)
			part.Release()
		}
		if p.Used() != 0 || len(p.by) != 0 {
			t.Errorf("%d used, %d accounts are left", p.Used(), len(p.by))
		}
	})
}

// TestTheLargestRequestFitsIntoAShare, however small the pool is.
func TestTheLargestRequestFitsIntoAShare(t *testing.T) {
	p := New(80, 100)
	for _, who := range []Principal{user("a"), task(t, "a", "/a")} {
		part, err := p.TryTake(who, 100)
		if err != nil {
			t.Fatal(err)
		}
		part.Release()
	}
	var none *Part
	none.Shrink(1)
	none.Release()
}
