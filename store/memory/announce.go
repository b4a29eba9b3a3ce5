package memory

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"secretstore/store"
)

// Announce implements store.Announcer. An announcement ends with ctx.
func (b *Backend) Announce(ctx context.Context, id string, content <-chan []byte) error {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 || hex.EncodeToString(raw) != id {
		return fmt.Errorf("%q is not an id of 32 hex digits", id)
	}
	defer b.records.endAnnouncement(id)
	for {
		select {
		case data := <-content:
			b.records.announce(id, data)
		case <-ctx.Done():
			return nil
		case <-b.closing:
			return nil
		}
	}
}

// Announcements implements store.Announcer.
func (b *Backend) Announcements(ctx context.Context) ([]store.Announcement, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	all := b.records.announcements()
	if len(all) > store.MaxAnnouncements {
		return nil, store.ErrTooManyAnnouncements
	}
	return all, nil
}

func (r *records) announce(id string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[id] = bytes.Clone(data)
}

func (r *records) endAnnouncement(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, id)
}

func (r *records) announcements() []store.Announcement {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []store.Announcement
	for _, id := range slices.Sorted(maps.Keys(r.live)) {
		a := store.Announcement{ID: id}
		if len(r.live[id]) <= store.MaxAnnouncement {
			a.Data = r.live[id]
		}
		all = append(all, a)
	}
	return all
}
