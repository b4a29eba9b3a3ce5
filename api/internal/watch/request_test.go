package watch

import (
	"net/http"
	"testing"

	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
)

func FuzzParseWatch(f *testing.F) {
	f.Add("", "", false)
	f.Add(`"0123456789abcdef0123456789abcdef"`, "60s", true)
	f.Add("0123456789abcdef0123456789abcdef", "10m0.1s", true)
	f.Add(`"`, "9999999h", true)
	f.Fuzz(func(t *testing.T, watch, timeout string, timed bool) {
		q := head.Query{Watch: head.Param{Value: watch, Times: 1}, Timeout: head.Param{Value: timeout}}
		if timed {
			q.Timeout.Times = 1
		}
		w, err := Parse(&q)
		if err != nil {
			if p := problem.Of(err); p.Status != http.StatusBadRequest || w != (Request{}) {
				t.Fatalf("%+v, %v", w, err)
			}
			return
		}
		if w.Timeout < 0 || w.Timeout > maxWatch || w.Known != "" && w.Known != watch && `"`+w.Known+`"` != watch {
			t.Errorf("%q, %q: %+v", watch, timeout, w)
		}
		if w.Known != "" && !isValueID(w.Known) {
			t.Errorf("%q was taken", watch)
		}
	})
}
