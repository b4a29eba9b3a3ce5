package records

import (
	"context"
	"sync"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Cleanup runs small background jobs that no request should wait for: it
// removes pieces that no record names, and folders without secrets. Nothing
// depends on it: if the queue is full or the storage is away, the Collector
// finds what is left.
type Cleanup struct {
	backend store.Backend
	barrier *barrier.Barrier
	queue   chan func(context.Context)
	pending sync.WaitGroup
}

const (
	// cleanupQueue bounds how many jobs may wait.
	cleanupQueue = 1024
	// cleanupTimeout bounds one job.
	cleanupTimeout = 10 * time.Second
	// cleanupWorkers is how many jobs run at once.
	cleanupWorkers = 2
)

// NewCleanup returns an empty queue. Its jobs run in Run.
func NewCleanup(backend store.Backend, b *barrier.Barrier) *Cleanup {
	return &Cleanup{backend: backend, barrier: b, queue: make(chan func(context.Context), cleanupQueue)}
}

// Wait waits until all jobs that were queued so far are done. It is for tests
// that check what is left in the storage.
func (c *Cleanup) Wait() { c.pending.Wait() }

// Run runs jobs until the context ends, and then forgets what is queued.
func (c *Cleanup) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range cleanupWorkers {
		workers.Go(func() { c.work(ctx) })
	}
	workers.Wait()
}

func (c *Cleanup) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			c.forget()
			return
		case job := <-c.queue:
			limited, cancel := context.WithTimeout(ctx, cleanupTimeout)
			job(limited)
			cancel()
			c.pending.Done()
		}
	}
}

func (c *Cleanup) forget() {
	for {
		select {
		case <-c.queue:
			c.pending.Done()
		default:
			return
		}
	}
}

// add queues a job, or forgets it if there are too many.
func (c *Cleanup) add(job func(context.Context)) {
	c.pending.Add(1)
	select {
	case c.queue <- job:
	default:
		c.pending.Done()
	}
}

// pruneFolder removes the record of a folder if it has no secrets left. A
// create in the same folder makes it again in its own transaction, so losing
// this race is harmless, and a folder that stays behind only takes space.
func (c *Cleanup) pruneFolder(folder store.Key) {
	c.add(func(ctx context.Context) {
		left, err := c.backend.Children(ctx, folder, store.Cached)
		if err != nil || len(left.Names) > 0 {
			return
		}
		_ = c.barrier.RemoveRecord(ctx, folder)
	})
}
