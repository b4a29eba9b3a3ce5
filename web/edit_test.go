package web

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestTextIsDescribed(t *testing.T) {
	for text, want := range map[string]string{
		"":         "0 bytes, 0 lines, does not end with a newline",
		"a":        "1 byte, 1 line, does not end with a newline",
		"a\n":      "2 bytes, 1 line, ends with a newline",
		"a\n\nb":   "4 bytes, 3 lines, does not end with a newline",
		"\n":       "1 byte, 1 line, ends with a newline",
		"ä\r\nb\n": "6 bytes, 2 lines, ends with a newline",
	} {
		if got := about([]byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 100000: "100,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is shown as %s", n, got)
		}
	}
}

func TestLineOfJSONError(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": [1, 2]}` + "\n": "",
		"{\n\"a\": 1,\n}":      "line 3",
		"{\n\"a\": oops\n}":    "line 2",
		"{}\n\n{}":             "line 3",
		"{\n":                  "line 2",
		"":                     "line 1",
	} {
		if got := jsonProblem([]byte(text)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %s", text, got, want)
		}
	}
}

// FuzzWrittenText: the line breaks of a form become line feeds, and nothing else
// changes; what is said of JSON agrees with another parser about texts that both
// read the same way.
func FuzzWrittenText(f *testing.F) {
	for _, seed := range []string{"", "a\r\nb", "\r", "\r\n", "\r\r\n", "{\"a\":1}", "[1,\r\n2", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, written []byte) {
		want := bytes.ReplaceAll(written, []byte("\r\n"), []byte("\n"))
		got := withoutCR(bytes.Clone(written))
		if !bytes.Equal(got, want) {
			t.Fatalf("%q became %q", written, got)
		}
		if jsonProblem(got) == "" && !json.Valid(got) {
			t.Fatalf("%q was taken for JSON", got)
		}
	})
}
