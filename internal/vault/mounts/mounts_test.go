package mounts

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func zip(text string) []byte {
	var b bytes.Buffer
	b.WriteByte('G')
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.Bytes()
}

const table = `{"type":"mounts","entries":[
 {"path":"secret/","type":"kv","uuid":"a-1","options":null},
 {"path":"old/","type":"generic","uuid":"a-2"},
 {"path":"one/x/","type":"kv","uuid":"a-3","options":{"version":"1"}},
 {"path":"two/","type":"kv","uuid":"a-4","backend_aware_uuid":"b-4","options":{"version":"2"}},
 {"path":"sys/","type":"system","uuid":"a-5"}]}`

func TestTablesSayWhereSecretsAre(t *testing.T) {
	want := []Mount{{"secret/", false, "logical/a-1/"}, {"old/", false, "logical/a-2/"}, {"one/x/", false, "logical/a-3/"}, {"two/", true, "logical/a-4/b-4/"}}
	for _, plain := range [][]byte{[]byte(table), zip(table)} {
		got, others, err := Parse(plain)
		if err != nil || others != 1 || !cmp.Equal(got, want) {
			t.Errorf("%+v, %d others, %v", got, others, err)
		}
	}
}

func TestTablesThatCannotBeAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "x", "L123", "S123", "4123", "Gx", "[]",
		`{"entries":[{"path":"a/","type":"kv","uuid":"../x"}]}`,
		`{"entries":[{"path":"a/","type":"kv"}]}`,
		`{"entries":[{"path":"/","type":"kv","uuid":"a"}]}`,
		`{"entries":[{"path":"a","type":"kv","uuid":"a"}]}`,
		`{"entries":[{"path":"a//","type":"kv","uuid":"a"}]}`,
		`{"entries":[{"path":"a/","type":"kv","uuid":"a","options":{"version":"2"}}]}`,
		`{"entries":[{"path":"a/","type":"kv","uuid":"a","options":{"version":"3"}}]}`,
	} {
		if got, _, err := Parse([]byte(text)); err == nil || got != nil {
			t.Errorf("%s: %v", text, got)
		}
	}
	if _, _, err := Parse(zip(strings.Repeat(" ", maxTable+1))); !errors.Is(err, errTooLarge) {
		t.Errorf("a table that grows without end: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
	for text, want := range map[string]Namespace{
		`{"uuid":"c-1","path":"team1/"}`: {"team1/", "namespaces/c-1/"},
		`{"uuid":"c-1","path":""}`:       {},
	} {
		if got, err := ParseNamespace([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{}`, `{"uuid":"x/y","path":"a/"}`, `{"uuid":"c","path":"a"}`} {
		if _, err := ParseNamespace([]byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(table))
	f.Add(zip(table))
	f.Add([]byte(`{"uuid":"c-1","path":"team1/"}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		kv, _, err := Parse(plain)
		for _, m := range kv {
			if err != nil || !strings.HasSuffix(m.Path, "/") || !strings.HasPrefix(m.Prefix, "logical/") || strings.Contains(m.Prefix, "//") {
				t.Errorf("%+v, %v", m, err)
			}
		}
		if n, err := ParseNamespace(plain); err == nil && (n.Path == "") != (n.Prefix == "") {
			t.Errorf("%+v", n)
		}
	})
}
