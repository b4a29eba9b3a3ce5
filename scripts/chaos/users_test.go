//go:build zookeeper && linux

package chaos

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// users work on their own secrets, each through one server. A request that was
// answered with 503 is repeated once, after the Retry-After.
type users struct {
	stop    chan struct{}
	working sync.WaitGroup

	mu    sync.Mutex
	tries []try // guarded by mu
}

// try is one request and its repetition.
type try struct {
	server      *server
	what        string
	began       time.Time
	took        time.Duration // until the last answer
	first, last answer
	again       bool
	fine        bool // it succeeded
}

func (t try) String() string {
	text := fmt.Sprintf("%s %s: %v", t.server.node.name, t.what, t.first)
	if t.again {
		text += fmt.Sprintf(", then %v", t.last)
	}
	return text
}

// startUsers starts three users for each server.
func startUsers(servers ...*server) *users {
	u := &users{stop: make(chan struct{})}
	id := rand.Text() // secrets of earlier users may be left
	for _, s := range servers {
		for i := range 3 {
			u.working.Go(func() { u.work(s, fmt.Sprintf("users/%s/%s/%d", id, s.node.name, i)) })
		}
	}
	return u
}

func (u *users) work(s *server, folder string) {
	for i := 0; ; i++ {
		path := fmt.Sprintf("%s/%d", folder, i)
		value := func(v string) func(answer) bool {
			return func(a answer) bool { got, err := a.value(); return a.status == http.StatusOK && err == nil && got == v }
		}
		for _, step := range []struct {
			what, method, body string
			header             []string
			// done reports whether the request succeeded, cured whether its
			// repetition did.
			done, cured func(answer) bool
		}{
			{"create", "PUT", `{"value":"a"}`, nil, is(201), is(409)},
			{"linearizable read", "GET", "", []string{noCache}, value("a"), nil},
			{"update", "PATCH", `{"value":"b"}`, nil, is(204), nil},
			{"read", "GET", "", nil, value("b"), nil},
			{"delete", "DELETE", "", nil, is(204), is(404)},
		} {
			select {
			case <-u.stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			t := try{server: s, what: step.what, began: time.Now()}
			send := func() answer { return s.request(step.method, secrets+path, step.body, step.header...) }
			t.first = send()
			t.last = t.first
			if after, err := strconv.Atoi(t.first.header.Get("Retry-After")); t.first.status == 503 && err == nil {
				time.Sleep(time.Duration(after) * time.Second)
				t.last, t.again = send(), true
			}
			t.took = time.Since(t.began)
			t.fine = step.done(t.last) || t.again && step.cured != nil && step.cured(t.last)
			u.mu.Lock()
			u.tries = append(u.tries, t)
			u.mu.Unlock()
		}
	}
}

func is(status int) func(answer) bool { return func(a answer) bool { return a.status == status } }

// end stops the users and returns their requests.
func (u *users) end() []try {
	close(u.stop)
	u.working.Wait()
	return u.tries
}

// slowest returns the longest wait.
func slowest(tries []try) (longest try) {
	for _, t := range tries {
		if t.took > longest.took {
			longest = t
		}
	}
	return longest
}

// ofWhat returns the tries of some kinds.
func ofWhat(tries []try, words ...string) []try {
	return slices.DeleteFunc(slices.Clone(tries), func(t try) bool { return !slices.Contains(words, t.what) })
}

// refused returns the tries that were first answered with 503 and a
// Retry-After.
func refused(tries []try) []try {
	return slices.DeleteFunc(slices.Clone(tries), func(t try) bool {
		return t.first.status != http.StatusServiceUnavailable || strings.TrimSpace(t.first.header.Get("Retry-After")) == ""
	})
}
