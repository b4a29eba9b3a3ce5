package api_test

import (
	"net/http"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// TestTheTraceOfAClientIsInLogAuditAndAnswer also for answers that refuse, and
// for each line of a batch. A malformed trace is ignored.
func TestTheTraceOfAClientIsInLogAuditAndAnswer(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/a", "v")
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	definition := `{"id":"/group/app","secrets":{"a":{"source":"group/a"}},"env":{"A":{"secret":"a"}}}`
	for _, row := range []struct {
		q             req
		status, lines int
	}{
		{req{method: "GET", path: base + "/group/a", uid: "alice"}, 200, 1},
		{req{method: "HEAD", path: base + "/group/a", uid: "alice"}, 200, 1},
		{req{method: "GET", path: base + "/group/a"}, 401, 1},
		{req{method: "GET", path: base + "/group/a", uid: "nobody"}, 403, 1},
		{req{method: "GET", path: "/nothing", uid: "alice"}, 404, 1},
		{req{method: "POST", path: "/secrets/v1/resolve/default", uid: "scheduler", body: definition}, 200, 2},
		{req{method: "GET", path: "/live"}, 200, 0},
	} {
		for _, sent := range []struct {
			values []string
			want   any
		}{
			{[]string{trace}, trace},
			{nil, nil},
			{[]string{trace, trace}, nil},
			{[]string{"00-canary"}, nil},
			{[]string{trace + strings.Repeat("x", 1000)}, nil},
		} {
			row.q.header = http.Header{wire.TraceparentHeader: sent.values}
			before, logged := len(e.auditLines()), len(e.log.String())
			got := e.want(row.q, row.status)
			answered := got.header[wire.TraceparentHeader]
			if len(answered) > 1 || (len(answered) == 1) != (sent.want != nil) || len(answered) == 1 && answered[0] != sent.want {
				t.Errorf("%s %s with %.80q: answered with %q", row.q.method, row.q.path, sent.values, answered)
			}
			lines := e.auditLines()[before:]
			if len(lines) != row.lines {
				t.Errorf("%s %s: %d audit lines", row.q.method, row.q.path, len(lines))
			}
			for _, line := range lines {
				if line["traceparent"] != sent.want {
					t.Errorf("%s %s with %.80q: %v in the audit log", row.q.method, row.q.path, sent.values, line["traceparent"])
				}
			}
			id := got.header.Get(wire.RequestIDHeader)
			eventually(t, func() bool { return strings.Contains(e.log.String()[logged:], id) }) // after the answer
			if log := e.log.String()[logged:]; strings.Contains(log, `"traceparent":"`+trace+`"`) != (sent.want != nil) || strings.Contains(log, "canary") {
				t.Errorf("%s %s with %.80q: logged %s", row.q.method, row.q.path, sent.values, log)
			}
		}
	}
}
