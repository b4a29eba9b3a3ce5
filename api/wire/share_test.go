package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

func TestShareIsAJSONString(t *testing.T) {
	for text, want := range map[string]string{`"0aF"`: "0aF", `"\u0030 "`: "0 ", `""`: ""} {
		var s wire.Share
		if err := json.Unmarshal([]byte(text), &s); err != nil || s == nil || string(s) != want {
			t.Errorf("%s was read as %q, %v", text, []byte(s), err)
		}
		back, err := json.Marshal(s)
		var again wire.Share
		if err != nil || json.Unmarshal(back, &again) != nil || string(again) != want {
			t.Errorf("%q was written as %s, %v", want, back, err)
		}
	}
	for _, text := range []string{`7`, `["a"]`, `{}`, `true`} {
		var s wire.Share
		if err := json.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s was read as %q", text, []byte(s))
		}
	}
	var none wire.UnsealRequest
	if err := json.Unmarshal([]byte(`{"key":null}`), &none); err != nil || none.Key != nil {
		t.Errorf("null was read as %q, %v", []byte(none.Key), err)
	}
}

func TestShareIsNeverPrinted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, wire.UnsealRequest{Key: wire.Share("0badc0de")}); strings.Contains(text, "0badc0de") {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}
