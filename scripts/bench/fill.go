package main

import (
	"context"
	"sync"
	"sync/atomic"
)

// fill stores the secrets that are read.
func fill(ctx context.Context, o options, s *server) error {
	body := bodyOf(o)
	return fillWith(ctx, o.secrets, request{method: "PUT", want: 201, token: s.token,
		next: func(n uint64) (string, []byte) { return s.secret(name(o, n)), body }})
}

// fillWith sends the request for the numbers 0 to count-1 once each, over 64
// connections.
func fillWith(ctx context.Context, count int, r request) error {
	client := newClient(64, nil)
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= int64(count) {
					return
				}
				numbered := r
				numbered.next = func(uint64) (string, []byte) { return r.next(uint64(n)) }
				if _, err := once(client, numbered); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}
