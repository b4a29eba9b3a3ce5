//go:build long

package api_test

import (
	"strings"
	"testing"
	"testing/synctest"
)

// TestTheLargestAnswerFitsIntoAShare: one with a value and its longest spelling in
// JSON.
func TestTheLargestAnswerFitsIntoAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 6 << 20
		e := newEdge(t, edgeOptions{pipes: true, maxSize: size})
		e.want(req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"` + strings.Repeat(`\u0001`, size) + `"}`}, 201)
		got := e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		if len(got.body) < 6*size {
			t.Errorf("%d bytes", len(got.body))
		}
	})
}
