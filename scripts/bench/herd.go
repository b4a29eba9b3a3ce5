package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/valyala/fasthttp"
)

// perTask is how many secrets the definition of a task names.
const perTask = 5

// herdConns is how many connections a herd has.
var herdConns = []int{64, 500}

// herdCase starts many tasks at once, as a cluster does after an outage. Each
// has a one-use task token made, by the scheduler, and resolves its definition
// with it. Connections are opened when the herd starts, and kept for the tasks
// that follow. A task is measured from its first request to its last answer.
func herdCase(ctx context.Context, o options, s *server, dir, helloURL string) error {
	scheduler, err := signToken(o, dir, "scheduler")
	if err != nil {
		return err
	}
	helloTLS, stop, err := startHello(ctx, o.size, o.certs)
	if err != nil {
		return err
	}
	defer stop()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	fmt.Fprintf(out, "%d tasks\tconns\ttasks/s\tp50\tp99\tall done after\terrors\tserver CPU\thello\tratio\t\n", o.tasks)
	for _, t := range []struct{ name, url, hello string }{{"HTTP", s.url, helloURL}, {"TLS", s.tlsURL, helloTLS}} {
		for _, conns := range herdConns {
			h := &herd{o: o, url: t.url, scheduler: scheduler, conns: conns}
			hello := getOf(o, t.hello, s.token)
			hello.warm = true
			if t.url == s.tlsURL {
				hello.tls = o.certs.client
			}
			d := duel{
				a: &side{run: func(ctx context.Context) (figure, error) { return load(ctx, conns, o.duration, hello) }},
				b: &side{run: h.run, servers: []*server{s}},
			}
			if err := d.measure(ctx, o.runs, nil); err != nil {
				return fmt.Errorf("%s at %d connections: %w", t.name, conns, err)
			}
			fig := median(d.b.figs)
			fmt.Fprintf(out, "%s\t%d\t%.0f\t%.0f ms\t%.0f ms\t%.1f s\t%d\t%.0f µs\t%.0f\t%.3f\t\n", t.name, conns, fig.perSecond,
				fig.p50.Seconds()*1000, fig.p99.Seconds()*1000, float64(o.tasks)/fig.perSecond, h.errors.Load(),
				d.b.spent.server/float64(o.tasks*o.runs), median(d.a.figs).perSecond, middle(d.rates))
			if first := h.first.Load(); first != nil {
				fmt.Fprintln(os.Stderr, "bench: the first error:", *first)
			}
		}
	}
	return nil
}

// herd is many tasks over some connections.
type herd struct {
	o         options
	url       string
	scheduler string // its token
	conns     int
	errors    atomic.Int64 // of all runs
	first     atomic.Pointer[error]
}

// run starts all tasks and waits for them. What fails is counted, and no task.
func (h *herd) run(ctx context.Context) (figure, error) {
	client := newClient(h.conns, nil)
	if h.o.certs != nil {
		client.TLSConfig = h.o.certs.client
	}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var workers sync.WaitGroup
	latencies := make([][]time.Duration, h.conns)
	start := time.Now()
	for w := range h.conns {
		workers.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= int64(h.o.tasks) {
					return
				}
				began := time.Now()
				if err := h.task(client, uint64(n)); err != nil {
					h.errors.Add(1)
					h.first.CompareAndSwap(nil, &err)
					continue
				}
				latencies[w] = append(latencies[w], time.Since(began))
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	if first := h.first.Load(); first != nil && len(slices.Concat(latencies...)) == 0 {
		return figure{}, *first
	}
	return figureOf(ctx, latencies, elapsed)
}

// task gets the token of a task and resolves its definition.
func (h *herd) task(client *fasthttp.Client, n uint64) error {
	service := fmt.Sprintf("/bench/folder/app%d", n)
	post := func(token, endpoint, body string) ([]byte, error) {
		_, answer, err := exchange(client, request{method: "POST", want: 200, token: token,
			next: func(uint64) (string, []byte) { return h.url + "/secrets/v1/" + endpoint + "/default", []byte(body) }})
		return answer, err
	}
	answer, err := post(h.scheduler, "task-token", fmt.Sprintf(`{"service":%q}`, service))
	if err != nil {
		return err
	}
	var made struct{ Token string }
	if err := json.Unmarshal(answer, &made); err != nil {
		return err
	}
	answer, err = post(made.Token, "resolve", h.definition(service, n))
	if err != nil {
		return err
	}
	if got := strings.Count(string(answer), strings.Repeat("v", h.o.size)); got != perTask {
		return fmt.Errorf("%d values were resolved, not %d", got, perTask)
	}
	return nil
}

// definition is that of a Marathon app with secrets in its environment.
func (h *herd) definition(service string, n uint64) string {
	var env, sources []string
	for i := range uint64(perTask) {
		env = append(env, fmt.Sprintf(`"SECRET%d":{"secret":"s%d"}`, i, i))
		sources = append(sources, fmt.Sprintf(`"s%d":{"source":%q}`, i, name(h.o, n*perTask+i)))
	}
	return fmt.Sprintf(`{"id":%q,"cmd":"sleep 60","env":{%s},"secrets":{%s}}`, service, strings.Join(env, ","), strings.Join(sources, ","))
}
