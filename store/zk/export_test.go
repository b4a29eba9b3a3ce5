package zk

import "context"

// Connections is how many connections a backend has.
const Connections = 1 + readers

// Hears says whether b has a connection that hears of changes, so that what is in
// memory counts.
func (b *Backend) Hears() bool { return b.cache.following.Load() != nil }

// RepairACLs does that once more, as after a start.
func (b *Backend) RepairACLs(ctx context.Context) error {
	l, err := b.conns.await(ctx)
	if err != nil {
		return err
	}
	return b.house.repairACLs(ctx, l.Session)
}
