package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// footprintCase measures what may grow with the number of secrets: start,
// memory, pages, the list of all, and reads. Run it for example with -secrets
// 1000000 -folders 1000; storing them takes minutes.
func footprintCase(ctx context.Context, o options, s *server, dir, storage string) error {
	var starts []time.Duration
	for range o.runs {
		var took time.Duration
		var err error
		if s, took, err = restart(ctx, o, s, dir, storage); err != nil {
			return err
		}
		starts = append(starts, took.Round(time.Millisecond))
	}
	slices.Sort(starts)
	fmt.Printf("%d secrets in %d folders: ready %v after the start (at most %v), %d MiB\n",
		o.secrets, max(1, o.folders), starts[len(starts)/2], starts[len(starts)-1], s.memory())
	if err := fillWith(ctx, min(o.secrets, 100_000), readOf(o, s)); err != nil {
		return err
	}
	fmt.Printf("after %d different secrets were read: %d MiB\n", min(o.secrets, 100_000), s.memory())

	s, _, err := restart(ctx, o, s, dir, storage)
	if err != nil {
		return err
	}
	defer s.stop()
	folder := strings.TrimSuffix(name(o, 7), "/s7")
	for what, path := range map[string]string{"a page of 1,000 names of one folder": folder + "?list=true&limit=1000",
		"a page of 1,000 names of all": "bench?list=true&limit=1000"} {
		took, _, err := timed(ctx, s, path)
		if err != nil {
			return err
		}
		var again []time.Duration
		for range 20 {
			took, _, err := timed(ctx, s, path)
			if err != nil {
				return err
			}
			again = append(again, took)
		}
		slices.Sort(again)
		fmt.Printf("%s: %v the first time, then %v\n", what, took.Round(10*time.Microsecond), again[len(again)/2].Round(10*time.Microsecond))
	}
	took, size, err := timed(ctx, s, "bench?list=true")
	if err != nil {
		return err
	}
	fmt.Printf("the list of all: %v, %d MB, %.0f names a second; the server has %d MiB afterwards, %d at most so far\n",
		took.Round(time.Millisecond), size>>20, float64(o.secrets)/took.Seconds(), s.memory(), s.peak())
	return readSome(ctx, o, s)
}

// readSome measures cached reads of 10,000 of the secrets, taken from all
// folders. Compare it with a run that stores only 10,000.
func readSome(ctx context.Context, o options, s *server) error {
	const some, spread = 10_000, 97
	r := readOf(o, s)
	r.next = func(n uint64) (string, []byte) { return s.secret(name(o, n%some*spread)), nil }
	if err := fillWith(ctx, some, r); err != nil {
		return err
	}
	var all []figure
	before := use(nil, s)
	for range o.runs {
		fig, err := load(ctx, 64, o.duration, r)
		if err != nil {
			return err
		}
		all = append(all, fig)
	}
	fmt.Printf("cached reads of %d of them, 64 connections: %.0f a second, %.0f µs of the server\n",
		some, median(all).perSecond, use(nil, s).minus(before).each().server)
	return nil
}

// restart stops s and starts another on the same storage. It returns how long
// that took to be ready.
func restart(ctx context.Context, o options, s *server, dir, storage string) (*server, time.Duration, error) {
	s.stop()
	s, err := startServer(o, dir, storage, true)
	if err != nil {
		return nil, 0, err
	}
	if err := waitFor(ctx, s.url+"/ready"); err != nil {
		s.stop()
		return nil, 0, err
	}
	return s, time.Since(s.began), nil
}

// timed reads an answer to its end, which must be that of a list.
func timed(ctx context.Context, s *server, path string) (took time.Duration, size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.secret(path), nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Authorization", "token="+s.token)
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	var last tail
	size, err = io.Copy(&last, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || last[0] != '}') {
		err = fmt.Errorf("%s: %s, or the list broke off", path, resp.Status)
	}
	return time.Since(began), size, err
}

// tail keeps the last byte of what is written.
type tail [1]byte

func (t *tail) Write(p []byte) (int, error) {
	copy(t[:], p[max(0, len(p)-1):])
	return len(p), nil
}

// memory returns the resident memory in MiB, peak the largest it has been.
func (p *process) memory() int64 { return p.status("VmRSS") >> 10 }
func (p *process) peak() int64   { return p.status("VmHWM") >> 10 }

func (p *process) status(field string) (kib int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == field+":" {
			kib, _ = strconv.ParseInt(words[1], 10, 64)
		}
	}
	return kib
}

// valuesCase writes and reads values of 1 MiB.
func valuesCase(ctx context.Context, o options, s *server) error {
	value := bytes.Repeat([]byte{0xff}, 1<<20)
	binary := map[string]string{"Content-Type": "application/octet-stream"}
	url := func(n uint64) string { return s.secret(fmt.Sprintf("bench/large/s%d", n%32)) }
	put := request{method: "PUT", want: 201, token: s.token, header: binary, next: func(n uint64) (string, []byte) { return url(n), value }}
	if err := fillWith(ctx, 32, put); err != nil {
		return err
	}
	patch := request{method: "PATCH", want: 204, token: s.token, header: binary, next: put.next}
	get := request{method: "GET", want: 200, token: s.token, next: func(n uint64) (string, []byte) { return url(n), nil }}
	for _, conns := range []int{1, 4, 64} {
		for what, r := range map[string]request{"written": patch, "read": get} {
			var all []figure
			for range o.runs {
				fig, err := load(ctx, conns, o.duration, r)
				if err != nil {
					return err
				}
				all = append(all, fig)
			}
			fmt.Printf("values of 1 MiB, %d connections, %s: %.0f MB/s\n", conns, what, median(all).perSecond*1.048576)
		}
	}
	return nil
}
