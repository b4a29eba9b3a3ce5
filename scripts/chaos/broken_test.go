//go:build zookeeper && linux

package chaos

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// ms makes an op that lasted from begin to end, in milliseconds.
func ms(o op, begin, end int) op {
	o.key, o.begin, o.end = "k", time.Duration(begin)*time.Millisecond, time.Duration(end)*time.Millisecond
	return o
}

func unknown(o op, begin int) op {
	o = ms(o, begin, 0)
	o.end = never
	return o
}

// TestStrictCheckFindsViolations tests the checker itself with histories that
// are known to be linearizable, or known not to be.
func TestStrictCheckFindsViolations(t *testing.T) {
	made := ms(op{kind: create, value: "a"}, 0, 10)
	changed := ms(op{kind: update, value: "b"}, 20, 30)
	for name, c := range map[string]struct {
		history []op
		fine    bool
	}{
		"in order":                      {[]op{made, changed, ms(op{kind: read, value: "b"}, 40, 50)}, true},
		"an old value":                  {[]op{made, changed, ms(op{kind: read, value: "a"}, 40, 50)}, false},
		"an old value, at the time":     {[]op{made, changed, ms(op{kind: read, value: "a"}, 25, 50)}, true},
		"an old value, from the cache":  {[]op{made, changed, ms(op{kind: read, value: "a", cached: true}, 40, 50)}, true},
		"two values in the wrong order": {[]op{made, ms(op{kind: update, value: "b"}, 20, 90), ms(op{kind: read, value: "b"}, 30, 40), ms(op{kind: read, value: "a"}, 50, 60)}, false},
		"lost":                          {[]op{made, ms(op{kind: read}, 20, 30)}, false},
		"lost, as a list tells":         {[]op{made, ms(op{kind: read, listed: true}, 20, 30)}, false},
		"listed":                        {[]op{made, ms(op{kind: read, listed: true, value: "?"}, 20, 30)}, true},
		"made up":                       {[]op{made, ms(op{kind: read, value: "z"}, 20, 30)}, false},
		"refused where it is":           {[]op{made, ms(op{kind: create, value: "b", refused: true}, 20, 30)}, true},
		"refused for no reason":         {[]op{made, ms(op{kind: remove, refused: true}, 20, 30)}, false},
		"created twice":                 {[]op{made, ms(op{kind: create, value: "b"}, 20, 30)}, false},
		"unknown, and it happened":      {[]op{unknown(op{kind: create, value: "a"}, 0), ms(op{kind: read, value: "a"}, 20, 30)}, true},
		"unknown, and it did not":       {[]op{unknown(op{kind: create, value: "a"}, 0), ms(op{kind: read}, 20, 30)}, true},
		"unknown, and late":             {[]op{unknown(op{kind: create, value: "a"}, 0), ms(op{kind: read}, 20, 30), ms(op{kind: read, value: "a"}, 40, 50)}, true},
		"unknown, and undone":           {[]op{unknown(op{kind: create, value: "a"}, 0), ms(op{kind: read, value: "a"}, 20, 30), ms(op{kind: read}, 40, 50)}, false},
		"unknown, and back after a removal": {[]op{made, unknown(op{kind: update, value: "b"}, 15), ms(op{kind: read, value: "b"}, 20, 30),
			ms(op{kind: remove}, 40, 50), ms(op{kind: read, value: "b"}, 60, 70)}, false},
	} {
		if err := checkStrict(c.history); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCachedCheckFindsViolations(t *testing.T) {
	made := ms(op{kind: create, value: "a"}, 0, 10)
	changed := ms(op{kind: update, value: "b", server: 1}, 20, 30)
	cached := op{kind: read, cached: true}
	of := func(value string, server int, age time.Duration) op {
		o := cached
		o.value, o.server, o.age = value, server, age
		return o
	}
	b := bounds{stale: 100 * time.Millisecond, maxStale: time.Second}
	for name, c := range map[string]struct {
		history []op
		want    error
	}{
		"fresh":                         {[]op{made, changed, ms(of("b", 0, 0), 500, 501)}, nil},
		"old, within the bound":         {[]op{made, changed, ms(of("a", 0, 0), 120, 121)}, nil},
		"old":                           {[]op{made, changed, ms(of("a", 0, 0), 200, 201)}, errStale},
		"old, and it says so":           {[]op{made, changed, ms(of("a", 0, 900*time.Millisecond), 1000, 1001)}, nil},
		"old, and it says too little":   {[]op{made, changed, ms(of("a", 0, 300*time.Millisecond), 1000, 1001)}, errStale},
		"too old, and it says so":       {[]op{made, changed, ms(of("a", 0, 2*time.Second), 1000, 1001)}, errTooLong},
		"the server's own write":        {[]op{made, changed, ms(of("a", 1, 0), 40, 41)}, errOwn},
		"made up":                       {[]op{made, changed, ms(of("z", 0, 0), 40, 41)}, errMadeUp},
		"absent before all":             {[]op{made, ms(of("", 1, 0), 20, 21)}, nil},
		"absent for too long":           {[]op{made, ms(of("", 1, 0), 200, 201)}, errStale},
		"removed":                       {[]op{made, ms(op{kind: remove}, 20, 30), ms(of("", 0, 0), 400, 401)}, nil},
		"removed, and still there":      {[]op{made, ms(op{kind: remove}, 20, 30), ms(of("a", 0, 0), 400, 401)}, errOwn},
		"perhaps removed":               {[]op{made, unknown(op{kind: remove}, 20), ms(of("a", 0, 0), 400, 401)}, nil},
		"removed, and listed":           {[]op{made, ms(op{kind: remove}, 20, 30), ms(op{kind: read, cached: true, listed: true, value: "?", server: 1}, 400, 401)}, errStale},
		"refused writes change nothing": {[]op{made, ms(op{kind: create, value: "b", refused: true}, 20, 30), ms(of("a", 0, 0), 400, 401)}, nil},
	} {
		if err := checkCached(c.history, b); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// flaw is what is wrong with a fake server: something every so many writes, or
// a delay.
type flaw struct {
	lose int           // acknowledged, and not done
	lie  int           // done, and said to be impossible
	lag  time.Duration // of reads behind writes
}

// TestClientsAndChecksFindABrokenServer runs clients and checks against servers
// with the flaws that a real one could have.
func TestClientsAndChecksFindABrokenServer(t *testing.T) {
	for name, flaw := range map[string]flaw{
		"no flaw":                         {},
		"writes that are lost":            {lose: 40},
		"writes that happen all the same": {lie: 40},
		"reads from a follower that lags": {lag: 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			fake := httptest.NewServer(&fakeStore{flaw: flaw, now: make(map[string]string), seen: make(map[string]string)})
			defer fake.Close()
			r := newRun([]*server{{url: fake.URL}}, "f")
			end := r.begin(1)
			for deadline := time.Now().Add(5 * time.Minute); r.size() < enough && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			end()
			err := checkStrict(r.history)
			if (err == nil) != (name == "no flaw") || len(r.problems) > 0 {
				t.Errorf("%d operations: %v, %v", len(r.history), err, r.problems)
			}
		})
	}
}

// enough is how many operations meet a flaw many times. On a busy machine they
// take a while.
const enough = 1200

func (r *run) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.history)
}

// fakeStore answers as the Secret Store does, from memory.
type fakeStore struct {
	flaw flaw

	mu     sync.Mutex
	now    map[string]string // bodies by path; guarded by mu
	seen   map[string]string // what readers see; guarded by mu
	writes int               // guarded by mu
}

func (f *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		f.read(w, r)
		return
	}
	_, there := f.now[r.URL.Path]
	status := map[string]int{http.MethodPut: http.StatusCreated}[r.Method]
	switch {
	case r.Method == http.MethodPut && there:
		status = http.StatusConflict
	case r.Method != http.MethodPut && !there:
		status = http.StatusNotFound
	default:
		if status == 0 {
			status = http.StatusNoContent
		}
		f.writes++
		if f.flaw.lie > 0 && f.writes%f.flaw.lie == 0 {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		if f.flaw.lose == 0 || f.writes%f.flaw.lose > 0 {
			f.change(r.URL.Path, string(body))
		}
	}
	w.WriteHeader(status)
}

// change sets a secret, or removes it without a body.
func (f *fakeStore) change(path, body string) {
	set := func(in map[string]string) {
		in[path] = body
		if body == "" {
			delete(in, path)
		}
	}
	set(f.now)
	if f.flaw.lag == 0 {
		set(f.seen)
		return
	}
	time.AfterFunc(f.flaw.lag, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		set(f.seen)
	})
}

func (f *fakeStore) read(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" {
		names := []string{}
		for path := range f.seen {
			if name, found := strings.CutPrefix(path, r.URL.Path+"/"); found {
				names = append(names, name)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"array": names})
		return
	}
	body, found := f.seen[r.URL.Path]
	if !found {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = io.WriteString(w, body)
}
