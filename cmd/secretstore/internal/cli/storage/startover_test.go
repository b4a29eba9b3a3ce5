package storage

import (
	"context"
	"errors"
	"io"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

// served is a storage that servers use.
type served struct {
	*memory.Backend
	servers int
}

func (s served) Announce(context.Context, string, <-chan []byte) error { return nil }

func (s served) Announcements(context.Context) ([]store.Announcement, error) {
	return make([]store.Announcement, s.servers), nil
}

// TestNothingIsRemovedWhileAServerRuns: it would make a new store of the empty storage.
func TestNothingIsRemovedWhileAServerRuns(t *testing.T) {
	b := memory.New()
	defer b.Close()
	const marker = "stores/default/restoring"
	if _, err := b.Apply(t.Context(), store.Create(marker, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	line := base.NewProgress(&base.Process{Stderr: io.Discard})
	if err := (&Storage{Backend: served{b, 1}}).StartOver(t.Context(), line); !errors.Is(err, seal.ErrInUse) {
		t.Errorf("with a server: %v", err)
	}
	if _, err := b.Get(t.Context(), marker, store.Latest); err != nil {
		t.Errorf("with a server: %v", err)
	}
	if err := (&Storage{Backend: served{b, 0}}).StartOver(t.Context(), line); err != nil {
		t.Errorf("without one: %v", err)
	}
	// The marker stays, so that no server takes the storage for empty.
	if node, err := b.Get(t.Context(), marker, store.Latest); err != nil || string(node.Data) != "abandoned" {
		t.Errorf("without one: %q, %v", node.Data, err)
	}
}
