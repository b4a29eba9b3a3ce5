package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// The first unseal of a restored store counts its secrets, because somebody may have
// removed some since the restore: the keyring of the backup says how many there were.
// A difference is reported, and does not keep the store sealed: a server of an earlier
// release, which knows nothing of restores, may have served the store meanwhile.

// countTime bounds what an unseal waits for. A count that takes longer is done again
// after it, by CountLate.
const countTime = 2500 * time.Millisecond

// countReaders is how many lists are read at the same time.
const countReaders = 32

// lacks returns what is to be said of the contents of a restored store, "" if they are
// those of the backup, or if that says nothing of them. late says that they were not
// counted.
func (u *Unsealer) lacks(ctx context.Context, r *restore, ring *barrier.Keyring) (text string, late bool) {
	want := ring.Contents
	if want == (barrier.Contents{}) {
		return "", false
	}
	want.Identities = want.Identities && !r.record.WithoutIAM
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	have, err := contentsOf(ctx, u.backend)
	if err != nil {
		return "the store was restored from a backup; whether it has all of that backup is still being checked", true
	}
	return difference(have, want), false
}

// difference says what a store had, if that was not what the backup has.
func difference(have, want barrier.Contents) string {
	var differ []string
	for _, n := range []struct {
		what       string
		have, want int
	}{
		{"secrets", have.Secrets, want.Secrets}, {"deleted secrets", have.Deleted, want.Deleted}, {"records of large values", have.Pieces, want.Pieces},
	} {
		if n.have != n.want {
			differ = append(differ, fmt.Sprintf("%d %s instead of %d", n.have, n.what, n.want))
		}
	}
	if want.Identities && !have.Identities {
		differ = append(differ, "no users, groups and grants")
	}
	if len(differ) == 0 {
		return ""
	}
	return "when the store was first unsealed after the restore, it did not have what the backup has: " + strings.Join(differ, ", ") +
		"; unless a server of an earlier release has served it, somebody has changed the storage since the restore: restore it again"
}

// CountLate counts the secrets of restored stores that are too large for an unseal to
// wait for, until the context ends. Clients write meanwhile, so only a lack of secrets,
// deleted or not, says something.
func CountLate(ctx context.Context, l *Lifecycle) {
	for {
		select {
		case <-ctx.Done():
			return
		case want := <-l.machine.late:
			have, err := contentsOf(ctx, l.machine.backend)
			text := ""
			if err != nil {
				text = fmt.Sprintf("the store was restored from a backup, but whether it still has all of that backup could not be checked (%v): "+
					"make a new backup, and compare the two", err)
			} else if n, all := have.Secrets+have.Deleted, want.Secrets+want.Deleted; n < all {
				text = fmt.Sprintf("soon after the first unseal since the restore, the store had %d secrets, deleted ones included, but the backup has %d; "+
					"unless that many were purged meanwhile, somebody has changed the storage since the restore: restore it again", n, all)
			}
			l.machine.warnOfRestore(text)
		}
	}
}

// warnOfRestore keeps and logs what is to be said of a restore; "" is nothing.
func (m *machine) warnOfRestore(text string) {
	if m.restoreWarning.Store(&text); text != "" {
		m.log.Error(text)
	}
}

// contentsOf counts records in the storage.
func contentsOf(ctx context.Context, b store.Backend) (c barrier.Contents, err error) {
	for _, kind := range []struct {
		key   store.Key
		depth int
		n     *int
	}{{barrier.KeySecrets, 3, &c.Secrets}, {barrier.KeyDeleted, 3, &c.Deleted}, {barrier.KeyBlobs, 2, &c.Pieces}} {
		if *kind.n, err = countBelow(ctx, b, kind.key, kind.depth); err != nil {
			return barrier.Contents{}, err
		}
	}
	_, err = b.Get(ctx, barrier.KeyIAM, store.Latest)
	c.Identities = err == nil
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return c, err
}

// countBelow returns how many records there are so many levels below key.
func countBelow(ctx context.Context, b store.Backend, key store.Key, depth int) (int, error) {
	keys := []store.Key{key}
	for ; depth > 1; depth-- {
		next := make([][]store.Key, len(keys))
		err := eachList(ctx, b, keys, func(i int, names []string) {
			for _, name := range names {
				next[i] = append(next[i], path.Join(keys[i], name))
			}
		})
		if err != nil {
			return 0, err
		}
		keys = nil
		for _, some := range next {
			keys = append(keys, some...)
		}
	}
	var n atomic.Int64
	err := eachList(ctx, b, keys, func(_ int, names []string) { n.Add(int64(len(names))) })
	return int(n.Load()), err
}

// eachList calls visit, several at a time, with the names below each key.
func eachList(ctx context.Context, b store.Backend, keys []store.Key, visit func(i int, names []string)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(countReaders)
	for i, key := range keys {
		group.Go(func() error {
			list, err := b.Children(ctx, key, store.Latest)
			if err == nil {
				visit(i, list.Names)
			}
			return err
		})
	}
	return group.Wait()
}
