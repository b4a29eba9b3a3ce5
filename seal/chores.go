package seal

import (
	"context"
	"sync"
	"time"
)

// chores does the cleaning that no request should wait for: pieces that nobody
// names, folders without secrets. Nothing depends on it: what is not done here,
// because the queue is full or the storage is away, the collector finds.
type chores struct {
	queue   chan func(context.Context)
	pending sync.WaitGroup // for tests that look at what is left
}

const (
	// choreQueue bounds how much may wait.
	choreQueue = 1024
	// choreTimeout bounds one chore.
	choreTimeout = 10 * time.Second
	// choreWorkers is how many are done at once.
	choreWorkers = 2
)

func newChores() *chores { return &chores{queue: make(chan func(context.Context), choreQueue)} }

// add queues a chore, or forgets it if there are too many.
func (c *chores) add(chore func(context.Context)) {
	c.pending.Add(1)
	select {
	case c.queue <- chore:
	default:
		c.pending.Done()
	}
}

// run works until the context ends, and then forgets what is queued.
func (c *chores) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for {
				select {
				case <-c.queue:
					c.pending.Done()
				default:
					return
				}
			}
		case chore := <-c.queue:
			limited, cancel := context.WithTimeout(ctx, choreTimeout)
			chore(limited)
			cancel()
			c.pending.Done()
		}
	}
}
