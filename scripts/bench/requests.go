package main

import (
	"fmt"
	"strings"
)

// secret returns the URL of a path.
func (s *server) secret(path string) string { return s.url + "/secrets/v1/secret/default/" + path }

// readOf reads the secrets in turn.
func readOf(o options, s *server) request {
	return request{method: "GET", want: 200, token: s.token, next: func(n uint64) (string, []byte) { return s.secret(name(o, n)), nil }}
}

// freshOf is readOf, from the storage itself.
func freshOf(o options, s *server) request {
	r := readOf(o, s)
	r.header = map[string]string{"Cache-Control": "no-cache"}
	return r
}

// updateOf updates the secrets in turn.
func updateOf(o options, s *server) request {
	body := bodyOf(o)
	return request{method: "PATCH", want: 204, token: s.token, next: func(n uint64) (string, []byte) { return s.secret(name(o, n)), body }}
}

// createOf creates others.
func createOf(o options, s *server) request {
	body := bodyOf(o)
	return request{method: "PUT", want: 201, token: s.token,
		next: func(n uint64) (string, []byte) { return s.secret(fmt.Sprintf("bench/new%d/s%d", n%100, n)), body }}
}

func bodyOf(o options) []byte { return []byte(`{"value":"` + strings.Repeat("v", o.size) + `"}`) }

func name(o options, n uint64) string {
	n %= uint64(o.secrets)
	if o.folders > 0 {
		return fmt.Sprintf("bench/f%d/s%d", n%uint64(o.folders), n)
	}
	return fmt.Sprintf("bench/folder/s%d", n)
}
