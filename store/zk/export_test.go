package zk

import "context"

// Connections is how many connections a backend has.
const Connections = 1 + readers

// Hears says whether b has a connection that hears of changes, so that what is in
// memory counts.
func (b *Backend) Hears() bool { return b.live.Load() != nil }

// MendACLs does that once more, as after a start.
func (b *Backend) MendACLs(ctx context.Context) error {
	l, err := b.await(ctx)
	if err != nil {
		return err
	}
	return b.mendACLs(ctx, l)
}
