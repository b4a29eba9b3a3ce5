package writes

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/store"
)

func TestAFaultIsTheLastWriteThatTheStorageRefused(t *testing.T) {
	full := fmt.Errorf("%w: /s.db", store.ErrFull)
	for _, row := range []struct {
		name   string
		writes []error
		want   error
	}{
		{"no write", nil, nil},
		{"success", []error{nil}, nil},
		{"full", []error{nil, full}, store.ErrFull},
		{"unknown", []error{store.ErrOutcomeUnknown}, store.ErrOutcomeUnknown},
		{"room again", []error{full, nil}, nil},
		{"a condition that does not hold", []error{full, &store.OpError{Err: store.ErrConflict}}, nil},
		{"a caller that left", []error{fmt.Errorf("%w: %w", store.ErrUnavailable, context.Canceled)}, nil},
		{"one that left later", []error{full, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Canceled)}, store.ErrFull},
	} {
		var h Health
		for _, err := range row.writes {
			h.Note(err)
		}
		if got := h.Fault(); !errors.Is(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestAFaultIsForgottenWhenItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Health{Fresh: time.Minute}
		h.Note(store.ErrUnavailable)
		time.Sleep(time.Minute)
		if h.Fault() == nil {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Second)
		if err := h.Fault(); err != nil {
			t.Errorf("remembered: %v", err)
		}
	})
}
