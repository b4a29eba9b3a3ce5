package jsondoc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"

	"secretstore/api/internal/problem"
	"secretstore/seal"
)

// constantTexts are all that ParseSecret may say: nothing of the input.
func constantTexts() []string {
	return []string{textBadJSON, textNoValue, textTwice, textBase64, textBadDesc, textBadLabel, textComplex}
}

// FuzzBody: what the parser takes is what a strict reading of JSON means, and
// writing it gives a document with the same value; what it refuses it refuses
// in constant words.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"value":"v"}`, `{"value":"\u00e4\ud83d\ude00\n","labels":["a"],"description":"d"}`, `{"value":"\ud800"}`, "{\"value\":\"\xff\"}",
		`{"value":"a","value":"b"}`, `{"x":{"y":[1,2,{"z":null}]},"value":""}`, `{"value":"v"} x`, `[`, ``, `{"Value":"v"}`, `{"value":1}`,
		`{"value":"v","labels":null,"description":null}`,
		`{"value_base64":"/wA=","labels":["l"]}`, `{"value_base64":"/w"}`, `{"value_base64":"","value":""}`, `{"value_base64":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		change, err := ParseSecret(bytes.Clone(body))
		if err != nil {
			if p := problem.Of(err); p.Status != http.StatusBadRequest || !slices.Contains(constantTexts(), p.Text) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if change.Kind == seal.Binary {
			var lax struct {
				Value []byte `json:"value_base64"`
			}
			if err := json.Unmarshal(body, &lax); err != nil || !bytes.Equal(lax.Value, change.Value) {
				t.Fatalf("took %q as %q, encoding/json as %q (%v)", body, change.Value, lax.Value, err)
			}
			return
		}
		if !utf8.Valid(change.Value) || !utf8.Valid(body) || !json.Valid(body) {
			t.Fatalf("took %q as %q", body, change.Value)
		}
		// encoding/json is lax, but on what both take they agree.
		var lax map[string]any
		if err := json.Unmarshal(body, &lax); err != nil || lax["value"] != string(change.Value) {
			t.Fatalf("took %q as %q, encoding/json as %q (%v)", body, change.Value, lax["value"], err)
		}
		s := seal.Secret{Kind: seal.Text, Value: change.Value}
		if change.Labels != nil {
			s.Labels = *change.Labels
		}
		if change.Description != nil {
			s.Description = *change.Description
		}
		out, err := Secret(&s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSecret(out)
		if err != nil || !bytes.Equal(again.Value, change.Value) {
			t.Fatalf("%q was written as %q and read as %q (%v)", body, out, again.Value, err)
		}
	})
}
