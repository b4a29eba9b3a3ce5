// Package vaulttest has storages that real Vaults and OpenBaos have written, for
// tests: dumps, keys, recorded answers, and what must come out. They are of
// throw-away stores, and nothing in them is a secret.
package vaulttest

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"
)

//go:embed testdata
var files embed.FS

// Names are all sets; dcos-vault-0.5.3 and 0.8.3 are of the forks that DC/OS shipped.
var Names = []string{
	"dcos-vault-0.5.3", "dcos-vault-0.8.3", "dcos-vault-0.8.3-big", "dcos-vault-0.5.3-upgraded-0.8.3",
	"dcos-vault-upgraded-1.14", "vault-1.14", "openbao-2.6.2",
}

// Recorded are the sets with recorded answers.
var Recorded = []string{"dcos-vault-0.5.3", "dcos-vault-0.8.3", "vault-1.14", "openbao-2.6.2"}

// Now is a time at which the sets are as they were written: a version expires later.
var Now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// PrivateKey is the armored key that wrapped keys are encrypted to.
func PrivateKey(t testing.TB) []byte { return read(t, "fixture-pgp-private.asc") }

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := files.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unzip(t testing.TB, name string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Set is what one server has written.
type Set struct {
	Dump   []byte
	Shares []string // hex; enough of them, and more
	// Wrapped are the shares as OpenPGP messages in hex, if there are such.
	Wrapped []string
	// Old was a share before a rekey.
	Old       []string
	Threshold int
	Token     string
	want      expected
	namespace map[string]any
}

type expected struct {
	V1 map[string]map[string]any `json:"v1"`
	V2 map[string]map[string]struct {
		Current  int `json:"current_version"`
		Versions map[string]struct {
			Data any `json:"data"`
		} `json:"versions"`
	} `json:"v2"`
}

// Load returns a set.
func Load(t testing.TB, name string) Set {
	t.Helper()
	s := Set{Dump: unzip(t, name+".znodes.jsonl.gz"), namespace: map[string]any{}}
	var keys struct {
		Threshold int      `json:"threshold"`
		Shares    []string `json:"unseal_keys"`
		Wrapped   []string `json:"keys_as_init_returned_them"`
		Old       []string `json:"before_rekey"`
		Token     string   `json:"root_token"`
	}
	if err := json.Unmarshal(read(t, name+".keys.json"), &keys); err != nil {
		t.Fatal(err)
	}
	s.Shares, s.Wrapped, s.Old, s.Threshold, s.Token = keys.Shares, keys.Wrapped, keys.Old, keys.Threshold, keys.Token
	d := json.NewDecoder(bytes.NewReader(unzip(t, name+".expected.json.gz")))
	d.UseNumber()
	if err := d.Decode(&s.want); err != nil {
		t.Fatal(err)
	}
	if name == "openbao-2.6.2" {
		s.namespace["team1/kv/x/y"] = map[string]any{"p": "in a namespace"}
	}
	return s
}

// Want returns the data of the newest n versions with a value, oldest first, by
// namespace, mount and path in one string.
func (s Set) Want(n int) map[string][]any {
	all := map[string][]any{}
	for name, data := range s.namespace {
		all[name] = []any{data}
	}
	for mount, secrets := range s.want.V1 {
		for path, data := range secrets {
			all[mount+path] = []any{data}
		}
	}
	for mount, secrets := range s.want.V2 {
		for path, secret := range secrets {
			var numbers []int
			for text, v := range secret.Versions {
				if number, err := strconv.Atoi(text); err == nil && v.Data != nil {
					numbers = append(numbers, number)
				}
			}
			slices.Sort(numbers)
			if !slices.Contains(numbers, secret.Current) {
				continue // deleted, destroyed, or without a version
			}
			for _, number := range numbers[max(0, len(numbers)-n):] {
				all[mount+path] = append(all[mount+path], secret.Versions[strconv.Itoa(number)].Data)
			}
		}
	}
	return all
}

// Decode reads JSON as Want has it: numbers as they are written.
func Decode(t testing.TB, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%.200q: %v", data, err)
	}
	return v
}

// Server answers as the server of a set did. Requests that were not recorded are an
// error of the test.
func Server(t testing.TB, name string) http.Handler {
	t.Helper()
	type answer struct {
		status int
		body   string
	}
	answers := map[string]answer{}
	token := Load(t, name).Token
	for line := range bytes.Lines(unzip(t, name+".http.jsonl.gz")) {
		var rec struct {
			Get, Token, Namespace, Body string
			Status                      int
		}
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(rec.Get)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Token == "" {
			answers[keyOf(rec.Namespace, u)] = answer{rec.Status, rec.Body}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[keyOf(r.Header.Get("X-Vault-Namespace"), r.URL)]
		switch {
		case r.Method != http.MethodGet:
			t.Errorf("%s %s", r.Method, r.RequestURI)
		case r.Header.Get("X-Vault-Token") != token:
			a = answer{http.StatusForbidden, `{"errors":["permission denied"]}`}
		case !ok:
			a = answer{http.StatusNotFound, `{"errors":[]}`}
			t.Logf("not recorded: %s", r.RequestURI)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	})
}

// keyOf is the same for all ways to escape a path.
func keyOf(namespace string, u *url.URL) string { return namespace + " " + u.Path + "?" + u.RawQuery }
