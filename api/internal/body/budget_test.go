package body

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"secretstore/api/internal/problem"
)

func TestABodyWaitsForItsPartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1)
		if !b.bodies.TryAcquire(BudgetBytes) {
			t.Fatal("the budget is smaller than it says")
		}
		large := strings.Repeat("x", Small+1)
		send := func(text string) *Body {
			return Of(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader(text)))
		}
		limit := Limit{Bytes: 1 << 20}
		_, _, err := b.Read(send(large), limit)
		if p := problem.Of(err); p.Status != http.StatusServiceUnavailable || !p.Retry {
			t.Errorf("%+v", p)
		}
		if got, _, err := b.Read(send("small"), limit); err != nil || string(got) != "small" {
			t.Errorf("a small body waits for large ones: %q, %v", got, err)
		}
		b.bodies.Release(BudgetBytes)
		got, release, err := b.Read(send(large), limit)
		if err != nil || string(got) != large {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if b.bodies.TryAcquire(BudgetBytes) {
			t.Error("a body takes nothing of the budget")
		}
		release()
		if !b.bodies.TryAcquire(BudgetBytes) {
			t.Error("a body did not give its part back")
		}
	})
}

func TestAnAnswerReservesItsPartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1)
		r, err := b.Reserve(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if b.answers.TryAcquire(BudgetBytes) {
			t.Error("an answer takes nothing of the budget")
		}
		if !b.bodies.TryAcquire(BudgetBytes) {
			t.Error("an answer makes bodies wait")
		}
		r.Shrink(4)
		if r.Shrink(8); !b.answers.TryAcquire(BudgetBytes - 4) {
			t.Error("not all that it does not need was given back")
		}
		b.answers.Release(BudgetBytes - 4)
		r.Release()
		r.Release()
		if !b.answers.TryAcquire(BudgetBytes) {
			t.Error("not all of the budget was given back")
		}
		r, err = b.Reserve(t.Context(), 10)
		if p := problem.Of(err); p.Status != http.StatusServiceUnavailable || !p.Retry || r != nil {
			t.Errorf("%+v", p)
		}
		r.Release() // of a nil Reservation
	})
}
