package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/deliver"
)

// question is a request for all secrets of a program that is made again and
// again, and answered from a copy while the server is away.
type question struct {
	c     *client.Client
	body  []byte
	cache *deliver.Cache // nil: none
	// warned: the copy could not be kept, which is said once.
	warned bool
}

// newQuestion binds the copy to all that the answer depends on.
func newQuestion(p *Process, c *client.Client, d *deliveryFlags, server string, body []byte) *question {
	q := &question{c: c, body: body}
	if d.maxStale > 0 {
		about := fmt.Appendf(nil, "%q %q ", server, d.remote.store)
		q.cache = &deliver.Cache{Dir: copyFolder(p), Question: append(about, body...), MaxAge: d.maxStale}
	}
	return q
}

// copyFolder is where copies are kept: the folder of this user for things that
// end with the boot, if there is one.
func copyFolder(p *Process) string {
	if dir := p.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "secretstore")
	}
	return "/dev/shm/secretstore-" + strconv.Itoa(os.Geteuid())
}

// The pauses between attempts, and how many there are before a copy is used.
const (
	firstPause    = 200 * time.Millisecond
	longestPause  = 5 * time.Second
	triesWithCopy = 3
)

// ask asks until there is an answer, a refusal, or no more time. While the
// server is away, a copy that is fresh enough stands in for the answer.
func (q *question) ask(ctx context.Context, p *Process) (wire.Resolved, error) {
	pause := firstPause
	for try := 1; ; try++ {
		answer, err := q.once(ctx, p)
		if err == nil || !away(err) || errors.Is(ctx.Err(), context.Canceled) {
			return answer, err
		}
		if q.cache != nil && (try >= triesWithCopy || ctx.Err() != nil) {
			if old, age, ok := q.old(); ok {
				fmt.Fprintf(p.Stderr, "secretstore: warning: %v\nThe secrets are a copy from %s ago\n", err, age.Round(time.Second))
				return old, nil
			}
		}
		if ctx.Err() != nil {
			return wire.Resolved{}, err
		}
		wait := max(pause/2+rand.N(pause), retryAfter(err))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait && q.cache == nil {
			return wire.Resolved{}, err
		}
		if try == 1 {
			fmt.Fprintf(p.Stderr, "secretstore: %v; trying again\n", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		pause = min(2*pause, longestPause)
	}
}

// once asks, and keeps the copy in step with what the server says.
func (q *question) once(ctx context.Context, p *Process) (wire.Resolved, error) {
	res, err := q.c.Resolve(ctx, q.body, client.ResolveOptions{})
	if err != nil {
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status/100 == 4 && q.cache != nil {
			q.cache.Remove() // what the server refuses is not to be had from a copy
		}
		return wire.Resolved{}, err
	}
	if len(res.Definitions) != 1 {
		return wire.Resolved{}, errors.New("the server answers something else than it was asked for; is it a Secret Store?")
	}
	if q.cache != nil {
		q.keep(p, res)
	}
	return res.Definitions[0], nil
}

// keep replaces the copy. The program can run without one.
func (q *question) keep(p *Process, res client.Resolution) {
	raw, err := json.Marshal(res.Definitions[0])
	if err == nil {
		err = q.cache.Store(raw, res.Age)
	}
	clear(raw)
	if err != nil && !q.warned {
		fmt.Fprintf(p.Stderr, "secretstore: warning: %v\n", err)
	}
	q.warned = err != nil
}

// old returns the copy, if there is one that may be used.
func (q *question) old() (wire.Resolved, time.Duration, bool) {
	raw, age, err := q.cache.Load()
	if err != nil {
		return wire.Resolved{}, 0, false
	}
	defer clear(raw)
	var answer wire.Resolved
	if json.Unmarshal(raw, &answer) != nil {
		return wire.Resolved{}, 0, false
	}
	return answer, age, true
}

// away reports whether the server, or its storage, is out of reach: not if it
// refuses, is sealed, or is not the one it should be.
func away(err error) bool {
	var refused *client.Error
	if errors.As(err, &refused) {
		if errors.Is(err, client.ErrSealed) || errors.Is(err, client.ErrUninitialized) {
			return false
		}
		switch refused.Status {
		case 502, 503, 504:
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok
}

func retryAfter(err error) time.Duration {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return min(refused.RetryAfter, longestPause)
	}
	return 0
}

// question connects to the server. done ends the use of the connection.
func (d *deliveryFlags) question(p *Process, what *delivery) (q *question, done func(), err error) {
	body, err := what.request()
	if err != nil {
		return nil, nil, err
	}
	d.remote.reread = true
	servers, err := namedServers(p, []string{d.remote.server})
	if err != nil {
		return nil, nil, err
	}
	c, err := d.remote.connect(p)
	if err != nil {
		return nil, nil, err
	}
	return newQuestion(p, c, d, servers[0], body), c.Close, nil
}

// first asks the server, for as long as --timeout allows, and returns what the
// program gets. A signal ends it with the status that shells give it.
func (d *deliveryFlags) first(p *Process, q *question, what *delivery) (*bundle, error) {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, d.remote.timeout)
	defer cancel()
	answer, err := q.ask(ctx, p)
	if err != nil {
		if by, ok := errors.AsType[*ended](context.Cause(ctx)); ok {
			return nil, by
		}
		return nil, err
	}
	return what.take(answer)
}
