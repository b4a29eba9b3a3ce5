package tasks

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// answerOf is an answer with text secrets.
func answerOf(values map[string]string) map[string]wire.ResolvedSecret {
	out := map[string]wire.ResolvedSecret{}
	for path, value := range values {
		out[nameOf(path)] = wire.ResolvedSecret{Value: &value}
	}
	return out
}

var testValues = map[string]string{
	"a/db": "canary", "a/json": `{"user":"u","port":1000000,"list":["x","y"],"nested":{"k":"v"}}`, "a/long": strings.Repeat("canary", 1<<20),
}

func TestTemplatesAreFilled(t *testing.T) {
	binary := answerOf(testValues)
	binary[nameOf("a/key")] = wire.ResolvedSecret{Bytes: []byte{0xff, 0}}
	for text, want := range map[string]string{
		`plain {{secret "a/db"}}`:                                                             "plain canary",
		`{{secret "/a/db" | base64}} {{base64 (secret "a/key")}}`:                             "Y2FuYXJ5 /wA=",
		"{{with secretJSON `a/json`}}{{.user}}:{{.port}}{{end}}":                              "u:1000000",
		`{{(secretJSON "a/json").nested.k}}{{range (secretJSON "a/json").list}},{{.}}{{end}}`: "v,x,y",
		`{{$x := secret "a/db"}}{{if $x}}{{$x}}{{else}}{{secret "a/key"}}{{end}}`:             "canary",
		`{{define "x"}}{{secret "a/db"}}{{end}}{{template "x"}}`:                              "canary",
		`{{/* nothing else */ -}}   {{secret "a/key"}}`:                                       "\xff\x00",
	} {
		f, err := parseTemplate("t", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.fill(binary); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestTemplateNamesAllItsSecrets, also those in a branch that is not taken: one that
// does not exist is an error of the server.
func TestTemplateNamesAllItsSecrets(t *testing.T) {
	f, err := parseTemplate("t", []byte(`{{if secret "a"}}{{secret "b"}}{{else if secret "c"}}{{end}}{{define "x"}}{{range secretJSON "d"}}{{base64 (secret "e")}}{{end}}{{end}}{{(secretJSON "f").g}}{{$x := secret "h"}}{{template "x" (secret "i")}}`))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(f.paths)
	if got := strings.Join(f.paths, ""); got != "abcdefhi" {
		t.Error(got)
	}
}

func TestTemplatesHaveNoOtherFunctions(t *testing.T) {
	for _, text := range []string{
		`{{env "HOME"}}`, `{{printf "%s" "x"}}`, `{{if eq (secret "a") "b"}}{{end}}`, `{{call .}}`, `{{secret "a" | html}}`, `{{len (print 1)}}`,
		`{{define "x"}}{{js "x"}}{{end}}`, `{{with $x := (urlquery "x")}}{{end}}`, `{{template "x" (index . 1)}}{{define "x"}}{{end}}`,
		`{{secret}}`, `{{secret .}}`, `{{"a" | secret}}`, `{{$x := "a"}}{{secret $x}}`, `{{base64 secret}}`, `{{secret "a" "b"}}`, `{{secret "../a"}}`, `{{secret "a"`,
		`{{template "missing" .}}{{slice "x" 1}}`, "\x00",
	} {
		if _, err := parseTemplate("t", []byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

// TestErrorsOfTemplatesShowNoValues: those of text/template can.
func TestErrorsOfTemplatesShowNoValues(t *testing.T) {
	for text, want := range map[string]string{
		`{{range secret "a/db"}}{{end}}`:                            "t:1:",
		`{{(secret "a/db").x}}`:                                     "t:1:",
		`{{(secretJSON "a/json").missing}}`:                         "t:1:",
		`{{secretJSON "a/db"}}`:                                     "a/db is not JSON",
		`{{base64 (secretJSON "a/json")}}`:                          "t:1:",
		`{{template "missing" (secret "a/db")}}`:                    "t:1:",
		`{{secret "a/none"}}`:                                       "did not send a/none",
		`{{secret "a/long"}}{{secret "a/long"}}{{secret "a/long"}}`: "larger than 16 MiB",
	} {
		f, err := parseTemplate("t", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := f.fill(answerOf(testValues))
		if err == nil || got != nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v, want %q", text, len(got), err, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{`{{secret "a/db"}}`, `{{with secretJSON "a/json"}}{{.user}}{{end}}`, `{{define "x"}}{{end}}{{template "x" .}}`, `{{range $i, $x := (secretJSON "a/json").list}}{{break}}{{end}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("range")) || bytes.Contains(text, []byte("template")) || bytes.Contains(text, []byte("block")) {
			return // it may take long, by the user's own wish
		}
		filling, err := parseTemplate("t", text)
		if err != nil {
			return
		}
		if _, err := filling.fill(answerOf(testValues)); err != nil && strings.Contains(err.Error(), "canary") && !bytes.Contains(text, []byte("canary")) {
			t.Error(err)
		}
	})
}
