package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// request is what one connection sends again and again. next fills in the n-th
// request of a run; n never repeats. Without a method it is a PATCH where there
// is a body and a GET where there is none.
type request struct {
	method string
	token  string
	header map[string]string
	next   func(n uint64) (url string, body []byte)
	want   int         // status
	tls    *tls.Config // of https
	// fresh gives each request its own connection.
	fresh bool
	// warm opens each connection, with one more request, before the time starts.
	warm bool
	// first is sent before each request, and is not part of its latency.
	first *request
	// pause is made after each request.
	pause time.Duration
}

// figure is the outcome of one load.
type figure struct {
	perSecond float64
	p50, p99  time.Duration
}

// sent numbers the requests of the whole process, so that created names never
// repeat.
var sent atomic.Uint64

// load drives conns connections in a closed loop for a while. An unexpected
// status ends the run: figures of failed requests would mean nothing.
func load(ctx context.Context, conns int, d time.Duration, r request) (figure, error) {
	return loadEach(ctx, d, slices.Repeat([]request{r}, conns))
}

// loadEach is load, with one connection for each request of all.
func loadEach(ctx context.Context, d time.Duration, all []request) (figure, error) {
	conns := len(all)
	client := newClient(conns, all[0].tls)
	defer client.CloseIdleConnections()
	latencies := make([][]time.Duration, conns)
	failures := make([]error, conns)
	var warmed sync.WaitGroup
	for w, r := range all {
		if r.warm {
			warmed.Go(func() { _, failures[w] = once(client, r) })
		}
	}
	warmed.Wait()
	start := time.Now()
	deadline := start.Add(d)
	var workers sync.WaitGroup
	for w, r := range all {
		workers.Go(func() {
			for failures[w] == nil && time.Now().Before(deadline) && ctx.Err() == nil {
				if r.first != nil {
					if _, err := once(client, *r.first); err != nil {
						failures[w] = err
						return
					}
				}
				took, err := once(client, r)
				if err != nil {
					failures[w] = err
					return
				}
				latencies[w] = append(latencies[w], took)
				time.Sleep(r.pause)
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	for _, err := range failures {
		if err != nil {
			return figure{}, err
		}
	}
	return figureOf(ctx, latencies, elapsed)
}

// newClient returns a client that keeps its connections, up to conns to a
// server.
func newClient(conns int, config *tls.Config) *fasthttp.Client {
	return &fasthttp.Client{MaxConnsPerHost: conns, ReadTimeout: 30 * time.Second, DisablePathNormalizing: true, TLSConfig: config, Dial: dial}
}

// dial opens a connection that leaves no TIME_WAIT when it is closed: a minute
// of new connections would use up the ports.
func dial(addr string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetLinger(0)
}

func figureOf(ctx context.Context, latencies [][]time.Duration, elapsed time.Duration) (figure, error) {
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return figure{}, fmt.Errorf("no request was answered: %w", context.Cause(ctx))
	}
	slices.Sort(all)
	return figure{
		perSecond: float64(len(all)) / elapsed.Seconds(),
		p50:       all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// once sends the next request and returns how long the answer took.
func once(client *fasthttp.Client, r request) (time.Duration, error) {
	took, _, err := exchange(client, r)
	return took, err
}

// exchange is once, and returns the body of the answer.
func exchange(client *fasthttp.Client, r request) (time.Duration, []byte, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	url, body := r.next(sent.Add(1))
	method, want := r.method, r.want
	switch {
	case method == "" && body != nil:
		method, want = "PATCH", 204
	case method == "":
		method, want = "GET", 200
	}
	req.SetRequestURI(url)
	req.Header.SetMethod(method)
	if r.token != "" {
		req.Header.Set("Authorization", "token="+r.token)
	}
	if body != nil {
		req.Header.SetContentType("application/json") // else the library says that it is binary
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	req.SetBodyRaw(body)
	if r.fresh {
		req.SetConnectionClose()
	}
	start := time.Now()
	if err := client.Do(req, resp); err != nil {
		return time.Since(start), nil, err
	}
	took := time.Since(start)
	if resp.StatusCode() != want {
		return took, nil, fmt.Errorf("%s %s: %d %s", method, url, resp.StatusCode(), bytes.TrimSpace(resp.Body()))
	}
	return took, bytes.Clone(resp.Body()), nil
}

// median returns the figure of the middle rate.
func median(all []figure) figure {
	slices.SortFunc(all, func(a, b figure) int { return cmp.Compare(a.perSecond, b.perSecond) })
	return all[len(all)/2]
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
