package kv

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestObjectsKeepEveryDigitAndCharacter(t *testing.T) {
	const text = `{"big": 12345678901234567890, "exp": 1e+300, "frac": 1.50, "html": "\u003ca\u003e", "sep": "\u2028\u0000", "nested": {"a": [1, true, null]}, "empty": ""}`
	o, err := ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"big":12345678901234567890,"exp":1e+300,"frac":1.50,"html":"<a>","sep":"` + "\u2028" + `\u0000","nested":{"a":[1,true,null]},"empty":""}`; string(o.JSON()) != want {
		t.Errorf("%s\n%s", o.JSON(), want)
	}
	var got []string
	for _, m := range o.Members {
		got = append(got, fmt.Sprintf("%s %s %s", m.Name, m.Kind(), m.Text()))
	}
	want := []string{"big number 12345678901234567890", "exp number 1e+300", "frac number 1.50", "html string <a>", "sep string \u2028\x00", `nested object {"a":[1,true,null]}`, "empty string "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	o.Clear()
	if text := string(o.JSON()); strings.Trim(text, "\x00") != "" {
		t.Errorf("%q is left", text)
	}
}

func TestBigIntegersAreNoticed(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a":9007199254740991}`: false, `{"a":9007199254740992}`: true, `{"a":[{"b":-9007199254740993}]}`: true,
		`{"a":"9007199254740993"}`: false, `{"a":12345678901234567000}`: true, `{}`: false,
	} {
		o, err := ParseObject([]byte(text))
		if err != nil || o.HasBigInteger() != want {
			t.Errorf("%s: %v, %v", text, !want, err)
		}
	}
}

func TestObjectsThatAreNotUniqueAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", `"x"`, "1", `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1} x`, `{"a":"` + "\xff" + `"}`, `{"a":"\ud800"}`, `{"a"}`, `{`,
		`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}",
	} {
		if o, err := ParseObject([]byte(text)); err == nil {
			t.Errorf("%.40q is accepted: %s", text, o.JSON())
		}
	}
}

func FuzzParseObject(f *testing.F) {
	f.Add([]byte(`{"value":"x","n":[1,{"a":null}],"u":"\u00e9"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseObject(data)
		if err != nil {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(o.JSON(), &doc); err != nil || len(doc) != len(o.Members) {
			t.Errorf("%q: %v, %d members", o.JSON(), err, len(o.Members))
		}
		for _, m := range o.Members {
			if s, ok := doc[m.Name].(string); ok != (m.Kind() == "string") || ok && s != string(m.Text()) {
				t.Errorf("%s: %q", m.Name, m.Text())
			}
		}
		o.HasBigInteger()
		again, err := ParseObject(o.JSON())
		if err != nil || string(again.JSON()) != string(o.JSON()) {
			t.Errorf("%q, then %q, %v", o.JSON(), again.JSON(), err)
		}
	})
}

func TestReadableVersions(t *testing.T) {
	now := time.Unix(1000, 0)
	m := Metadata{Current: 6, Versions: map[uint64]Version{1: {}, 2: {Deleted: now}, 3: {Destroyed: true}, 4: {Deleted: now.Add(1)}, 6: {}, 7: {}}}
	for n, want := range map[int][]uint64{1: {6}, 2: {4, 6}, 10: {1, 4, 6}} {
		if got := m.Readable(now, n); !cmp.Equal(got, want) {
			t.Errorf("%d: %v", n, got)
		}
	}
	for _, current := range []uint64{0, 2, 3, 5, 99} {
		m.Current = current
		if got := m.Readable(now, 10); got != nil {
			t.Errorf("current %d: %v", current, got)
		}
	}
}

func FuzzProtobuf(f *testing.F) {
	f.Add([]byte("\x0a\x03a/b\x12\x0c\x08\x01\x12\x08\x12\x02\x08\x05\x18\x01\x18\x01\x52\x06\x0a\x01k\x12\x01v"))
	f.Add([]byte("\x0a\x02{}\x12\x02\x08\x01"))
	f.Fuzz(func(t *testing.T, record []byte) {
		m, err := ParseMetadata(record)
		if err == nil && m.Path == "" {
			t.Error("no path")
		}
		for _, n := range m.Readable(time.Unix(1, 0), 3) {
			if _, ok := m.Versions[n]; !ok {
				t.Errorf("version %d is readable", n)
			}
		}
		if object, err := ParseVersion(record); (object == nil) != (err != nil) {
			t.Errorf("%q, %v", object, err)
		}
		Upgraded(record)
	})
}
