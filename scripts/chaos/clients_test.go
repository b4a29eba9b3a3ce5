//go:build zookeeper && linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	clients = 9
	// epoch is how long one set of secrets is used: a write with unknown
	// outcome may take effect at any later time, and a history with many of
	// them takes long to check.
	epoch = 4 * time.Second
	// perEpoch is how many secrets a set has: few, so that clients conflict.
	perEpoch = 4
	// pause is the longest wait of a client between two requests.
	pause = 30 * time.Millisecond
	// large is the size of a value that is stored in pieces. One write in
	// oneLarge has such a value.
	large    = 300 << 10
	oneLarge = 40
)

// run is the state that the clients of one run share.
type run struct {
	stores []*server
	start  time.Time
	folder string

	mu       sync.Mutex
	history  []op           // guarded by mu
	problems []string       // wrong answers; guarded by mu
	counts   map[string]int // of answers; guarded by mu
	slowest  time.Duration  // slowest answer of a server whose process was not touched; guarded by mu
}

func (r *run) now() time.Duration { return time.Since(r.start) }

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func newRun(stores []*server, folder string) *run {
	return &run{stores: stores, start: time.Now(), folder: folder, counts: make(map[string]int)}
}

// begin starts the clients and returns a function that stops them and waits for
// them.
func (r *run) begin(seed uint64) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for id := range clients {
		c := &client{r: r, id: id, random: rand.New(rand.NewPCG(seed, uint64(1+id)))}
		working.Go(func() { c.work(ctx) })
	}
	return func() {
		stop()
		working.Wait()
	}
}

// client makes one request after the other.
type client struct {
	r      *run
	id     int
	random *rand.Rand
	writes int
}

func (c *client) work(ctx context.Context) {
	for ctx.Err() == nil {
		c.act()
		time.Sleep(time.Duration(c.random.Int64N(int64(pause))))
	}
}

// act makes one request, of any kind to any server.
func (c *client) act() {
	set := int(c.r.now() / epoch)
	o := op{key: c.r.key(set, c.random.IntN(perEpoch)), server: c.server()}
	switch dice := c.random.IntN(100); {
	case dice < 20:
		o.kind = create
		c.write(o, "PUT")
	case dice < 40:
		o.kind = update
		c.write(o, "PATCH")
	case dice < 52:
		o.kind = remove
		c.write(o, "DELETE")
	case dice < 70:
		o.kind = read
		c.r.read(o)
	case dice < 90:
		o.kind, o.cached = read, true
		c.r.read(o)
	default:
		o.kind, o.cached = read, dice < 95
		c.r.list(o, set)
	}
}

// server chooses a server, rarely one that is down or paused: otherwise all
// clients would wait for it most of the time.
func (c *client) server() int {
	i := c.random.IntN(len(c.r.stores))
	if c.r.stores[i].touched.Load()%2 == 1 && c.random.IntN(4) > 0 {
		i = c.random.IntN(len(c.r.stores))
	}
	return i
}

func (r *run) key(set, i int) string { return fmt.Sprintf("%s/e%d/k%d", r.folder, set, i) }

// expand returns what is stored for a value. A large one repeats its name, so
// that a torn value is noticed.
func expand(value string) string {
	if !strings.HasSuffix(value, "L") {
		return value
	}
	return strings.Repeat(value+".", large/(len(value)+1))
}

// shrink undoes expand.
func shrink(stored string) string {
	name, _, _ := strings.Cut(stored, ".")
	if expand(name) != stored {
		return "torn: " + stored[:min(len(stored), 60)]
	}
	return name
}

func (c *client) write(o op, method string) {
	body := ""
	if o.kind != remove {
		c.writes++
		o.value = fmt.Sprintf("c%dw%d", c.id, c.writes)
		if c.random.IntN(oneLarge) == 0 {
			o.value += "L"
		}
		body = `{"value":"` + expand(o.value) + `"}`
	}
	a := c.r.send(&o, method, o.key, body)
	done, refused := http.StatusNoContent, http.StatusNotFound
	if o.kind == create {
		done, refused = http.StatusCreated, http.StatusConflict
	}
	switch {
	case a.unsent():
		return
	case a.status == done:
	case a.status == refused:
		o.refused = true
	case a.status == http.StatusServiceUnavailable && !strings.Contains(a.body, "outcome unknown"):
		o.nothing = true // it must not take effect later either
	default:
		o.end = never
	}
	c.r.add(o)
}

func (r *run) read(o op) {
	a := r.send(&o, "GET", o.key, "")
	switch a.status {
	case http.StatusOK:
		value, err := a.value()
		if err != nil {
			r.problem("%v: %v", o, err)
			return
		}
		o.value = shrink(value)
	case http.StatusNotFound:
	default:
		return
	}
	o.age, _ = a.age()
	r.add(o)
}

// list reads all names of a set and records for each secret whether it is
// listed.
func (r *run) list(o op, set int) {
	folder := fmt.Sprintf("%s/e%d", r.folder, set)
	o.listed = true
	a := r.send(&o, "GET", folder+"?list=true", "")
	if a.status != http.StatusOK {
		return
	}
	names, err := a.names()
	if err != nil {
		r.problem("%v: %v", o, err)
		return
	}
	o.age, _ = a.age()
	known := 0
	for i := range perEpoch {
		o.key, o.value = r.key(set, i), ""
		if slices.Contains(names, strings.TrimPrefix(o.key, folder+"/")) {
			o.value = "?"
			known++
		}
		r.add(o)
	}
	if known != len(names) {
		r.problem("%v: names that were never written: %q", o, names)
	}
}

func (r *run) add(o op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, o)
}

// send makes a request. It records when it began and ended, and answers that
// would be wrong for any request.
func (r *run) send(o *op, method, path, body string) answer {
	s := r.stores[o.server]
	touched, settled := s.touched.Load(), s.settled.Load()
	var header []string
	if o.kind == read && !o.cached {
		header = append(header, noCache)
	}
	o.begin = r.now()
	a := s.request(method, secrets+path, body, header...)
	o.end = r.now()
	alone := touched%2 == 0 && s.touched.Load() == touched // the process was not touched
	label := fmt.Sprint(method, " ", a.status)
	if a.err != nil {
		label = method + " failed"
	}
	sealed := strings.Contains(a.body, "is sealed") || strings.Contains(a.body, "not initialized")
	switch {
	case a.err != nil && alone && settled:
		r.problem("%v: no answer from a server that was not touched: %v", *o, a)
	case a.status == http.StatusServiceUnavailable && sealed:
		label += " sealed"
		if settled && alone {
			r.problem("%v: sealed by an outage: %v", *o, a)
		}
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		r.problem("%v: without Retry-After: %v", *o, a)
	case a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "outcome unknown"):
		label += " unknown"
	case a.status >= 500 && a.status != http.StatusServiceUnavailable:
		r.problem("%v: %v", *o, a)
	case a.status < 500 && a.err == nil && alone:
		s.settled.Store(true)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[label]++
	if alone {
		r.slowest = max(r.slowest, a.took)
	}
	return a
}

// readAll reads everything from every server, after all faults have ended.
func (r *run) readAll() error {
	for set := range int(r.now()/epoch) + 1 {
		for server := range r.stores {
			for deadline, done := time.Now().Add(patience), false; !done; {
				before := len(r.history)
				r.list(op{kind: read, server: server}, set)
				for i := range perEpoch {
					r.read(op{kind: read, server: server, key: r.key(set, i)})
				}
				done = len(r.history)-before == 2*perEpoch
				if !done && time.Now().After(deadline) {
					return errors.New("a server does not answer although all faults have ended")
				}
			}
		}
	}
	return nil
}
