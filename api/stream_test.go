package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/wire"
)

// event is one event of a stream.
type event struct {
	id, kind string
	wire.Event
	end wire.Error
}

// listen opens a stream, and returns its events; the channel is closed at its
// end.
func (e *edge) listen(query string, header http.Header) <-chan event {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), "GET", e.url+"/secrets/v1/watch/default"+query, nil)
	must(e.t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := e.client.Do(r)
	must(e.t, err)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != wire.TypeEvents || answer.Header.Get("Cache-Control") != "no-store" {
		e.t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	events := make(chan event, 1000)
	go func() {
		defer close(events)
		defer answer.Body.Close()
		var now event
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				now.id = value
			case "event":
				now.kind = value
			case "data":
				if strings.Contains(value, "CANARY") {
					e.t.Errorf("a value in a stream: %s", value)
				}
				if err := json.Unmarshal([]byte(value), &now.Event); err != nil {
					e.t.Error(err)
				}
				if now.kind == wire.EventEnd {
					if err := json.Unmarshal([]byte(value), &now.end); err != nil {
						e.t.Error(err)
					}
				}
			case "":
				if now.kind != "" {
					events <- now
				}
				now = event{}
			}
		}
	}()
	return events
}

func (e *edge) as(uid string) http.Header {
	return http.Header{"Authorization": {"token=" + tokenOf(e.t, uid, "")}}
}

// hear returns the next event.
func (e *edge) hear(events <-chan event) event {
	e.t.Helper()
	select {
	case next, ok := <-events:
		if !ok {
			e.t.Fatal("the stream has ended")
		}
		return next
	case <-time.After(patience):
		e.t.Fatal("no event")
	}
	panic("unreachable")
}

// heard demands the next event.
func (e *edge) heard(events <-chan event, kind, name string) event {
	e.t.Helper()
	next := e.hear(events)
	if next.kind != kind || next.Name != name {
		e.t.Errorf("heard %+v, want %s of %q", next, kind, name)
	}
	return next
}

func (e *edge) ended(events <-chan event, title, words string) {
	e.t.Helper()
	end := e.heard(events, wire.EventEnd, "")
	if end.end.Title != title || !strings.Contains(end.end.Description, words) {
		e.t.Errorf("ended with %+v, want %s, %s", end.end, title, words)
	}
	select {
	case next, ok := <-events:
		if ok {
			e.t.Errorf("%+v after the end", next)
		}
	case <-time.After(patience):
		e.t.Error("the connection stays open")
	}
}

func TestAStreamSendsOnlyWhatItsReaderMayKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, timeouts: 300 * time.Millisecond}) // which must not end it
		all, group := e.listen("", e.as("alice")), e.listen("?prefix=/group/", e.as("lister"))
		behalf := e.as("scheduler")
		behalf[wire.ServiceHeader] = []string{"/group/app"}
		service := e.listen("", behalf)
		time.Sleep(time.Minute) // longer than the deadlines of the server
		for _, p := range []string{"group/other/a", "other/a", "group/a", "a"} {
			e.put(p, "CANARY-VALUE")
			got := e.heard(all, wire.EventChanged, p)
			if got.Version != 1 || got.ETag != e.etag(p) || got.id == "" {
				t.Errorf("%+v, the ETag is %s", got, e.etag(p))
			}
		}
		e.patch("alice", "group/a", "CANARY-VALUE-2")
		if got := e.heard(all, wire.EventChanged, "group/a"); got.Version != 2 || got.ETag != e.etag("group/a") {
			t.Errorf("%+v", got)
		}
		e.want(req{method: "DELETE", path: base + "/group/a", uid: "alice"}, 204)
		e.heard(all, wire.EventDeleted, "group/a")

		e.heard(group, wire.EventChanged, "group/other/a")
		e.heard(group, wire.EventChanged, "group/a")
		e.heard(group, wire.EventChanged, "group/a")
		e.heard(group, wire.EventDeleted, "group/a")

		e.heard(service, wire.EventChanged, "group/a") // not other/a, not group/other/a
		e.heard(service, wire.EventChanged, "a")
		e.heard(service, wire.EventChanged, "group/a")
		e.heard(service, wire.EventDeleted, "group/a")

		for _, row := range []struct {
			uid, service, query string
			status              int
		}{
			{"reader", "", "", 403}, {"lister", "", "", 403}, {"lister", "", "?prefix=grou", 403}, {"alice", "/group", "", 403},
			{"scheduler", "", "", 403}, {"alice", "", "?prefix=a%252Fb", 404}, {"alice", "", "?prefix=a&prefix=b", 400}, {"alice", "", "?service=..", 400},
		} {
			e.want(req{method: "GET", path: "/secrets/v1/watch/default" + row.query, uid: row.uid, service: row.service}, row.status)
		}
	})
}

func TestAResumedStreamBeginsWithAResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		header := e.as("alice")
		header["Last-Event-Id"] = []string{"7"}
		events := e.listen("", header)
		e.heard(events, wire.EventResync, "")
		e.put("a", "v")
		e.heard(events, wire.EventChanged, "a")
	})
}

func TestPermissionIsCheckedAgainBeforeEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		policy := e.policy.Load()

		events := e.listen("", e.as("alice"))
		e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
		e.want(req{method: "PUT", path: base + "/a", uid: "root", body: `{"value":"v"}`}, 201)
		e.ended(events, "403 Forbidden", "permission denied")
		e.policy.Store(policy)

		// Without an event.
		events = e.listen("", e.as("alice"))
		began := time.Now()
		e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
		e.ended(events, "403 Forbidden", "permission denied")
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the stream went on for %v", took)
		}
		e.policy.Store(policy)

		raw, err := token.Sign("alice", time.Now().Add(-token.Leeway+2*time.Second), "", []byte(hmacKey))
		must(t, err)
		e.ended(e.listen("", http.Header{"Authorization": {"token=" + raw}}), "401 Unauthorized", "log in again")

		events = e.listen("", e.as("alice"))
		e.sealStore()
		e.ended(events, "503 Service Unavailable", "the secret store is sealed")
		_, err = e.store.Unseal(t.Context(), []byte(e.unseal))
		must(t, err)

		events = e.listen("", e.as("alice"))
		e.server.EndWatches()
		e.ended(events, "503 Service Unavailable", "this server stops")
		e.want(req{method: "GET", path: "/secrets/v1/watch/default", uid: "alice"}, 503, "this server stops")
		e.awaitWaiting(0)
	})
}

func TestAStreamHasAuditLinesForItsBeginningAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		events := e.listen("?prefix=group", e.as("lister"))
		lines := func() (all []map[string]any) {
			for _, line := range e.auditLines() {
				if line["endpoint"] == "watch" {
					all = append(all, line)
				}
			}
			return all
		}
		open := lines()
		if len(open) != 1 || open[0]["outcome"] != "allowed" || open[0]["uid"] != "lister" || open[0]["resource"] != "dcos:secrets:list:default:/group" {
			t.Fatalf("%v", open)
		}
		e.sealStore()
		e.ended(events, "503 Service Unavailable", "sealed")
		e.awaitWaiting(0)
		closed := lines()
		if len(closed) != 2 || closed[1]["request_id"] != open[0]["request_id"] || !strings.HasPrefix(closed[1]["reason"].(string), "stream closed: the secret store is sealed") {
			t.Errorf("%v", closed)
		}
	})
}
