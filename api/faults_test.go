package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"secretstore/store"
)

// TestReadyFailsOnlyWhereReadsDo: a fault of writing is named in the body of the
// 200, for everybody without its details, and in the status for superusers with
// them.
func TestReadyFailsOnlyWhereReadsDo(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	ready := req{method: "GET", path: "/ready"}
	status := req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "root"}
	if got := e.want(ready, 200); got.body != "ready" {
		t.Errorf("body %q", got.body)
	}
	for _, row := range []struct {
		err         error
		words       string
		state, kind string
	}{
		{store.ErrFull, "the disk of the storage is full", "full", "disk"},
		{store.ErrNoWrites, "the storage takes no writes", "read-only", "storage"},
		{fmt.Errorf("%w: too slow", store.ErrOutcomeUnknown), "the storage takes no writes", "read-only", "storage"},
	} {
		err := fmt.Errorf("%w: /CANARY-PATH", row.err)
		e.backend.fault.Store(&err)
		if got := e.want(ready, 200, "ready to read, but", row.words); strings.Contains(got.body, "CANARY") {
			t.Errorf("strangers see the cause: %s", got.body)
		}
		e.want(status, 200, "the last write failed", "/CANARY-PATH", `"storage":"`+row.state+`"`, `"kind":"`+row.kind+`"`)
		if got := e.want(req{method: "GET", path: status.path, uid: "alice"}, 200); strings.Contains(got.body, "server") {
			t.Errorf("alice sees %s", got.body)
		}
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		if got := e.want(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"w"}`}, 503); strings.Contains(got.body, "unreachable") {
			t.Errorf("the storage is there, and the answer is %s", got.body)
		}
	}
	e.backend.fault.Store(nil)
	e.want(ready, 200, "ready")
	e.backend.down.Store(true)
	eventually(t, func() bool { return strings.Contains(e.want(status, 200).body, "the storage does not answer") })
	e.want(ready, 503, "unreachable")
	eventually(t, func() bool {
		return strings.Contains(e.want(status, 200, `"storage":"unreachable"`).body, `"storage_since"`)
	})
	e.backend.down.Store(false)
	eventually(t, func() bool { return e.do(ready).status == 200 })
}

// TestReadyFailsWhileTheAuditLogDoes, because no read is answered then.
func TestReadyFailsWhileTheAuditLogDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		must(t, os.Rename(e.audit, e.audit+".1"))
		must(t, os.Mkdir(e.audit, 0o700))
		eventually(t, func() bool { return e.do(req{method: "GET", path: base + "/a", uid: "alice"}).status == 503 })
		if got := e.want(req{method: "GET", path: "/ready"}, 503, "the audit log cannot be written"); strings.Contains(got.body, e.audit) {
			t.Errorf("strangers see a path: %s", got.body)
		}
		e.want(req{method: "GET", path: "/live"}, 200)
		// The answer to a superuser is refused for the same reason.
		e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "root"}, 503, "the audit log cannot be written")
		must(t, os.Remove(e.audit))
		e.want(req{method: "GET", path: "/ready"}, 200)
	})
}
