package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
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
func newQuestion(p *base.Process, c *client.Client, d *deliveryFlags, server string, body []byte) *question {
	q := &question{c: c, body: body}
	if d.maxStale > 0 {
		about := fmt.Appendf(nil, "%q %q ", server, d.remote.Store)
		q.cache = &deliver.Cache{Dir: copyFolder(p), Question: append(about, body...), MaxAge: d.maxStale}
	}
	return q
}

// copyFolder is where copies are kept: the folder of this user for things that
// end with the boot, if there is one.
func copyFolder(p *base.Process) string {
	if dir := p.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "secretstore")
	}
	return "/dev/shm/secretstore-" + strconv.Itoa(os.Geteuid())
}

// triesWithCopy is how often the server is asked before a copy is used.
const triesWithCopy = 3

// ask asks until there is an answer, a refusal, or no more time. While the server
// is away, a copy that is fresh enough takes the place of the answer.
func (q *question) ask(ctx context.Context, p *base.Process) (wire.Resolved, error) {
	tries := 0
	var old *staleAnswer
	answer, err := client.Retry(ctx, client.Retries{
		Again: func(err error) bool {
			if tries++; tries >= triesWithCopy && client.Temporary(err) {
				old = q.old()
			}
			return client.Temporary(err) && old == nil
		},
		Notify: func(err error, _ time.Duration) {
			if tries == 1 {
				fmt.Fprintf(p.Stderr, "secretstore: %v; trying again\n", err)
			}
		},
	}, func(ctx context.Context) (wire.Resolved, error) { return q.once(ctx, p) })
	if err == nil || !client.Temporary(err) || errors.Is(ctx.Err(), context.Canceled) {
		return answer, err
	}
	if old == nil { // the time ended first
		old = q.old()
	}
	if old == nil {
		return wire.Resolved{}, err
	}
	fmt.Fprintf(p.Stderr, "secretstore: warning: %v\nUsing a copy of the secrets from %s ago\n", err, old.age.Round(time.Second))
	return old.answer, nil
}

// once asks, and keeps the copy in step with what the server says.
func (q *question) once(ctx context.Context, p *base.Process) (wire.Resolved, error) {
	res, err := q.c.Resolve(ctx, q.body, client.ResolveOptions{})
	if err != nil {
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status/100 == 4 && !client.Temporary(err) && q.cache != nil {
			q.cache.Remove() // a copy must not give what the server refuses
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
func (q *question) keep(p *base.Process, res client.Resolution) {
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

// staleAnswer is a copy of an earlier answer.
type staleAnswer struct {
	answer wire.Resolved
	age    time.Duration
}

// old returns the copy; nil if there is none that may be used.
func (q *question) old() *staleAnswer {
	if q.cache == nil {
		return nil
	}
	raw, age, err := q.cache.Load()
	if err != nil {
		return nil
	}
	defer clear(raw)
	out := staleAnswer{age: age}
	if json.Unmarshal(raw, &out.answer) != nil {
		return nil
	}
	return &out
}

// question connects to the server. done ends the use of the connection.
func (d *deliveryFlags) question(p *base.Process, what *delivery) (q *question, done func(), err error) {
	body, err := what.request()
	if err != nil {
		return nil, nil, err
	}
	d.remote.Reread = true
	servers, err := base.NamedServers(p, []string{d.remote.Server})
	if err != nil {
		return nil, nil, err
	}
	c, err := d.remote.Connect(p)
	if err != nil {
		return nil, nil, err
	}
	return newQuestion(p, c, d, servers[0], body), c.Close, nil
}

// first asks the server, for as long as --timeout allows, and returns what the
// program gets. A signal ends it with the status that shells give it.
func (d *deliveryFlags) first(p *base.Process, q *question, what *delivery) (*bundle, error) {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, d.remote.Timeout)
	defer cancel()
	answer, err := q.ask(ctx, p)
	if err != nil {
		if by, ok := errors.AsType[*base.Ended](context.Cause(ctx)); ok {
			return nil, by
		}
		return nil, err
	}
	return what.take(answer)
}
