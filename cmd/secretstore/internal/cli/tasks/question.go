package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/deliver"
)

// question is a request for all secrets of a program, which may be repeated. While
// the server is unreachable, a copy of the last answer can replace it.
type question struct {
	c     *client.Client
	what  *delivery
	cache *deliver.Cache // nil: none
	// warned says that the user knows that the copy could not be kept.
	warned bool
	// saidIncomplete says that the user knows that a list is incomplete.
	saidIncomplete bool
}

// newQuestion makes a question. Its copy is bound to everything that the answer
// depends on.
func newQuestion(p *base.Process, c *client.Client, d *deliveryFlags, servers string, what *delivery) (*question, error) {
	q := &question{c: c, what: what}
	if d.maxStale > 0 {
		body, err := what.request()
		if err != nil {
			return nil, err
		}
		about := fmt.Appendf(nil, "%q %q ", servers, d.remote.Store)
		q.cache = &deliver.Cache{Dir: copyFolder(p), Question: append(about, body...), MaxAge: d.maxStale}
	}
	return q, nil
}

// copyFolder returns the folder of the copies: the user's runtime folder, which a
// reboot clears, or else one in /dev/shm.
func copyFolder(p *base.Process) string {
	if dir := p.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "secretstore")
	}
	return "/dev/shm/secretstore-" + strconv.Itoa(os.Geteuid())
}

// triesWithCopy is how many requests must fail before a copy is used.
const triesWithCopy = 3

// ask repeats the request until there is an answer, a refusal, or no time left,
// but not if it may have been a use of a task token. While the server is
// unreachable, a copy that is fresh enough is the answer.
func (q *question) ask(ctx context.Context, p *base.Process) (*bundle, error) {
	tries := 0
	var old *staleAnswer
	answer, err := client.Retry(ctx, client.Retries{
		Again: func(err error) bool {
			if tries++; tries >= triesWithCopy && client.Temporary(err) {
				old = q.old()
			}
			return client.Temporary(err) && !errors.Is(err, client.ErrUnknown) && old == nil
		},
		MaxPause: base.MaxPause,
		Notify: func(err error, _ time.Duration) {
			if tries == 1 {
				fmt.Fprintf(p.Stderr, "secretstore: %v; retrying\n", err)
			}
		},
	}, func(ctx context.Context) (*bundle, error) { return q.once(ctx, p) })
	if err == nil || !client.Temporary(err) || errors.Is(ctx.Err(), context.Canceled) {
		return answer, err
	}
	if old == nil { // the time was over before enough tries
		old = q.old()
	}
	if old == nil {
		return nil, err
	}
	fmt.Fprintf(p.Stderr, "secretstore: warning: %v\nUsing a copy of the secrets from %s ago\n", err, old.age.Round(time.Second))
	return q.what.take(old.answer)
}

// once makes the request, and updates or removes the copy as the server answers.
func (q *question) once(ctx context.Context, p *base.Process) (*bundle, error) {
	what, err := q.expand(ctx, p)
	if err != nil {
		return nil, err
	}
	body, err := what.request()
	if err != nil {
		return nil, err
	}
	res, err := q.c.Resolve(ctx, body, client.ResolveOptions{})
	if err != nil {
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status/100 == 4 && !client.Temporary(err) && q.cache != nil {
			q.cache.Remove() // a copy must not give what the server refuses
		}
		return nil, naming(err, what.service)
	}
	if len(res.Definitions) != 1 {
		return nil, errors.New("the answer does not match the request; is it a Secret Store?")
	}
	if q.cache != nil {
		q.keep(p, res)
	}
	return what.take(res.Definitions[0])
}

// keep replaces the copy. The program can run without it.
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

// question returns the request for a delivery. done closes the connection.
func (d *deliveryFlags) question(p *base.Process, what *delivery) (q *question, done func(), err error) {
	d.remote.Reread = true
	servers, err := base.NamedServers(p, d.remote.Servers)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.remote.Connect(p)
	if err != nil {
		return nil, nil, err
	}
	q, err = newQuestion(p, c, d, strings.Join(servers, ","), what)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return q, c.Close, nil
}

// first returns the values of a delivery. It gives up after --timeout. A signal ends
// it with the exit status that shells use.
func (d *deliveryFlags) first(p *base.Process, q *question) (*bundle, error) {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, d.remote.Timeout)
	defer cancel()
	got, err := q.ask(ctx, p)
	if err != nil {
		if by, ok := errors.AsType[*base.Ended](context.Cause(ctx)); ok {
			return nil, by
		}
		return nil, err
	}
	return got, nil
}
