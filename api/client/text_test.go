package client

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// FuzzText: a text is written as package json would, in memory that need not grow, and
// comes back as it was.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "s3cret", "two\nlines\r\n", "\x00\x1f\"\\/<>&\u2028\U0001F511", "\xff", "\xed\xa0\x80"} {
		f.Add([]byte(seed), "about", true)
	}
	f.Fuzz(func(t *testing.T, value []byte, about string, has bool) {
		v := Value{Data: value}
		if has {
			v.Description, v.Labels = &about, &[]string{about}
		}
		want, wantErr := json.Marshal(wire.SecretWrite{Value: string(value), Description: v.Description, Labels: v.Labels})
		body, err := textBody(v)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(body, want) {
			t.Fatalf("%q: %q, %v; want %q, %v", value, body, err, want, wantErr)
		}
		if err != nil || has {
			return
		}
		s, err := secretOf(answer{http.Header{"Content-Type": {wire.TypeJSON}}, body})
		if err != nil || !bytes.Equal(s.Value, value) {
			t.Fatalf("%q comes back as %q, %v", value, s.Value, err)
		}
		if len(bytes.Trim(body, "\x00")) > 0 {
			t.Fatalf("the answer was not cleared: %q", body)
		}
	})
}
