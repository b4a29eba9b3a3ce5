package client

import (
	"errors"
	"net/http"
	"testing"
)

// TestWhichCallsMayGoToAnotherServer after which failures.
func TestWhichCallsMayGoToAnotherServer(t *testing.T) {
	get, put := &call{method: http.MethodGet}, &call{method: http.MethodPut}
	resolve, check := &call{method: http.MethodPost, resolves: true}, &call{method: http.MethodPost, reads: true}
	one := &call{method: http.MethodGet, one: true}
	own := func(status int, text string) error { return &Error{Status: status, Description: text, own: true} }
	foreign := func(status int) error { return &Error{Status: status} }
	notSent, cutOff, answered := attempt{lost: true}, attempt{lost: true, sent: true}, attempt{sent: true}
	odd := errors.New("odd")
	for name, row := range map[string]struct {
		a   attempt
		err error
		// whether it moves on: a read, and a call with an effect
		read, effect bool
		unknown      bool // for a call with an effect, if it does not move on
	}{
		"no connection":            {notSent, odd, true, true, false},
		"cut off":                  {cutOff, odd, true, false, true},
		"storage unreachable":      {answered, own(503, "the storage is unreachable"), true, true, false},
		"sealed":                   {answered, own(503, "the secret store is sealed"), true, true, false},
		"not initialized":          {answered, own(503, "the secret store is not initialized"), true, true, false},
		"outcome unknown":          {answered, own(503, "outcome unknown: read"), true, false, true},
		"done, not audited":        {answered, own(503, "the audit log cannot be written; before that, the secret was created"), true, false, false},
		"a proxy, unavailable":     {answered, foreign(503), true, false, true},
		"a proxy, bad gateway":     {answered, foreign(502), true, false, true},
		"a proxy, timeout":         {answered, foreign(504), true, false, true},
		"a web server, not found":  {answered, foreign(404), false, false, false},
		"not found":                {answered, own(404, "the secret does not exist"), false, false, false},
		"denied":                   {answered, own(403, "no"), false, false, false},
		"too many":                 {answered, own(429, "too many requests"), false, false, false},
		"internal error":           {answered, own(500, "internal error"), false, false, false},
		"no token":                 {attempt{}, odd, false, false, false},
		"answer not understood":    {answered, odd, false, false, false},
		"nothing known of a 503":   {attempt{}, foreign(503), true, false, false},
		"cut off inside an answer": {cutOff, odd, true, false, true},
	} {
		once := row.a
		once.counted = true
		for kind, tt := range map[string]struct {
			k      *call
			a      attempt
			effect bool
		}{
			"GET": {get, row.a, false}, "resolve": {resolve, row.a, false}, "check": {check, row.a, false},
			"PUT": {put, row.a, true}, "GET, counted": {get, once, true}, "resolve, counted": {resolve, once, true},
		} {
			want := row.read
			if tt.effect {
				want = row.effect
			}
			if got := movesOn(tt.k, tt.a, row.err); got != want {
				t.Errorf("%s, %s: moves on %v", kind, name, got)
			}
			wantUnknown := tt.effect && row.unknown
			if name == "outcome unknown" {
				wantUnknown = true // whatever was asked
			}
			if got := isUnknown(tt.k, tt.a, row.err); got != wantUnknown {
				t.Errorf("%s, %s: unknown %v", kind, name, got)
			}
		}
		if movesOn(one, row.a, row.err) {
			t.Errorf("%s: a call about one server moves on", name)
		}
	}
	if movesOn(&call{}, cutOff, odd) || movesOn(&call{}, attempt{}, odd) {
		t.Error("the zero call moves on")
	}
}

// TestWhichErrorOfSeveralServersCounts: sealed before a passing failure, before
// one that lasts.
func TestWhichErrorOfSeveralServersCounts(t *testing.T) {
	sealed := &Error{Status: 503, Description: "the secret store is sealed", own: true}
	away := &Error{Status: 503, Description: "the storage is unreachable", own: true}
	lasting := errors.New("no such host key")
	for _, row := range []struct {
		failed []error
		want   error
	}{
		{[]error{away}, away},
		{[]error{away, sealed}, sealed},
		{[]error{sealed, away}, sealed},
		{[]error{lasting, away}, away},
		{[]error{away, lasting}, away},
	} {
		err := noServer(row.failed)
		var other error
		for _, other = range []error{sealed, away, lasting} {
			if errors.Is(err, other) != (other == row.want) {
				t.Errorf("%v is %v: want %v", row.failed, err, row.want)
			}
		}
	}
	if got := noServer([]error{away, sealed}).Error(); got != away.Error()+"; "+sealed.Error() {
		t.Errorf("%q", got)
	}
}
