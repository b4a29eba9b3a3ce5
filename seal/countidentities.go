package seal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"secretstore/iam"
	"secretstore/seal/internal/identities"
)

// countTime bounds CountIdentities.
const countTime = time.Minute

// CountIdentities reads all records of the identities, in a store that was opened to be
// recovered, and returns how many open and how many are damaged. ErrSealed and the like.
func (s *Store) CountIdentities(ctx context.Context) (opened, damaged int, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	l := make(firstLoad, 1)
	s.identities.Follow(l)
	var running sync.WaitGroup
	running.Go(func() { identities.Run(ctx, s.identities) })
	defer running.Wait()
	defer cancel()
	select {
	case n := <-l:
		return n.opened, n.damaged, nil
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("read the users, groups and grants: %w", context.Cause(ctx))
	}
}

// firstLoad learns what is loaded first.
type firstLoad chan counted

type counted struct{ opened, damaged int }

func (l firstLoad) Load(_ uint64, all []iam.Record, damaged int) {
	select {
	case l <- counted{len(all), damaged}:
	default:
	}
}

func (firstLoad) Change(uint64, []iam.Record, []string, int) {}
func (firstLoad) Forget()                                    {}
