package server

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"testing"

	"secretstore/internal/porttest"
)

// TestProfilesShowNoValuesAndNoArguments takes every profile of a server that has
// just handled a value, and looks for that and for the token.
func TestProfilesShowNoValuesAndNoArguments(t *testing.T) {
	const canary = "canary-value-8c1f"
	addr := fmt.Sprint("127.0.0.1:", porttest.Free(t))
	r := start(t, nil, "--pprof-listen", addr)
	if status, body := r.request(t, "root", "PUT", "/secrets/v1/secret/default/name-of-a-secret", `{"value":"`+canary+`"}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := r.request(t, "root", "GET", "/secrets/v1/secret/default/name-of-a-secret", ""); status != 200 {
		t.Fatal(status)
	}
	site := ""
	ask := func(method, path, host string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+addr+"/debug/pprof/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			if body, err = io.ReadAll(plain); err != nil {
				t.Fatal(err)
			}
		}
		return res.StatusCode, body
	}
	for _, path := range []string{
		"", "heap", "heap?debug=1", "allocs", "goroutine", "goroutine?debug=1", "block", "mutex", "threadcreate", "profile?seconds=1", "trace?seconds=0.1",
	} {
		status, body := ask("GET", path, "localhost:6060")
		if status != 200 || len(body) == 0 {
			t.Errorf("%s: %d, %d bytes", path, status, len(body))
		}
		for _, word := range []string{canary, "name-of-a-secret", "token=", "eyJ"} {
			if bytes.Contains(body, []byte(word)) {
				t.Errorf("%s contains %q", path, word)
			}
		}
	}
	for _, row := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "goroutine?debug=2", "", 403},
		{"GET", "goroutine?debug=%32", "", 403},
		{"GET", "goroutine?debug=02", "", 403},
		{"GET", "goroutine?debug=-1", "", 403},
		{"GET", "goroutine?debug=2&debug=1", "", 403},
		{"POST", "goroutine?debug=1", "", 405},
		{"GET", "cmdline", "", 404},
		{"GET", "symbol", "", 404},
		{"GET", "heap", "rebound.example.com", 403},
		{"GET", "heap", "rebound.example.com:6060", 403},
		{"GET", "heap", "[::1]", 200},
		{"GET", "heap", "127.0.0.1", 200},
		{"GET", "../../metrics", "", 404},
	} {
		if status, body := ask(row.method, row.path, row.host); status != row.status || bytes.Contains(body, []byte("goroutine ")) && status != 200 {
			t.Errorf("%s %s at %q: %d %s", row.method, row.path, row.host, status, body)
		}
	}
	for name, want := range map[string]int{"none": 200, "same-origin": 200, "cross-site": 403, "same-site": 403} {
		site = name
		if status, _ := ask("GET", "heap", ""); status != want {
			t.Errorf("a request of a browser, %s: %d", name, status)
		}
	}
}
