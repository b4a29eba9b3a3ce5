package server

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"secretstore/store"
)

const goodNode = `{"format":1,"name":"host-1.example","listen":["127.0.0.1:1337","[::]:8443"],"version":"v1.2.3","state":"sealed","since":"2026-01-02T03:04:05Z"}`

func TestOnlyHarmlessRecordsOfServersAreShown(t *testing.T) {
	got, err := parseNode([]byte(goodNode))
	want := nodeRecord{Format: 1, Name: "host-1.example", Listen: []string{"127.0.0.1:1337", "[::]:8443"}, Version: "v1.2.3",
		State: "sealed", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err != nil || !cmp.Equal(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, change := range map[string][2]string{
		"control character":    {"host-1", `host\u001b[2J`},
		"line break":           {"host-1", `host\n1`},
		"looks like another":   {"host-1", "h\u043est"}, // Cyrillic
		"space":                {"host-1", "host 1"},
		"no name":              {"host-1.example", ""},
		"long name":            {"host-1", strings.Repeat("h", maxNodeText)},
		"bad address":          {"[::]:8443", `\u009b`},
		"too many addresses":   {`"[::]:8443"`, `"a","b","c","d"`},
		"unknown state":        {"sealed", "fine"},
		"another format":       {`"format":1`, `"format":2`},
		"unknown member":       {`"format":1`, `"format":1,"url":"x"`},
		"member that is twice": {`"format":1`, `"format":1,"name":"x"`},
		"not UTC":              {"05Z", "05+01:00"},
		"no time":              {"2026-01-02T03:04:05Z", "now"},
		"more after it":        {`Z"}`, `Z"}x`},
		"too large":            {`{"format"`, strings.Repeat(" ", store.MaxAnnouncement) + `{"format"`},
	} {
		bad := strings.Replace(goodNode, change[0], change[1], 1)
		if got, err := parseNode([]byte(bad)); bad == goodNode || err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzNode(f *testing.F) {
	f.Add([]byte(goodNode))
	f.Add([]byte(`{}`))
	f.Add([]byte(strings.Replace(goodNode, `,"listen":["127.0.0.1:1337","[::]:8443"]`, "", 1)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNode(data)
		if err != nil {
			return
		}
		for _, text := range append([]string{n.Name, n.Version, n.State}, n.Listen...) {
			if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Fatalf("%q passes", text)
			}
		}
		again, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseNode(again); err != nil || !cmp.Equal(back, n) {
			t.Fatalf("%s: %+v, %v", again, back, err)
		}
	})
}
