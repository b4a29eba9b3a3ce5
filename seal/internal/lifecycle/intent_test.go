package lifecycle

import (
	"strings"
	"testing"

	"secretstore/seal/envelope"
)

// TestOnlyPrintableNamesOfSealersAreShown: anybody who can write to the storage may
// have put them there. The record counts as sealed whatever it says.
func TestOnlyPrintableNamesOfSealersAreShown(t *testing.T) {
	for by, shown := range map[string]string{"bob": "bob", "": "", "a\\u001b[2Jb": "", strings.Repeat("x", maxSealer+1): ""} {
		in := parseIntent([]byte(`{"format":1,"sealed":true,"seal":"aa","by":"` + by + `","at":"2026-01-02T03:04:05Z"}`))
		if got := in.order(); got.by != shown || (got.by != "") != (shown == "bob" && !got.at.IsZero()) || !in.Sealed || in.Seal != "aa" {
			t.Errorf("%q: %+v, %+v", by, in, got)
		}
	}
	for _, record := range []string{`{"format":1,"sealed":true,"seal":"aa"}`, `{"format":1,"sealed":true,"seal":"aa","at":7}`, `{"format":1,"seal":"aa","by":"bob"}`} {
		if in := parseIntent([]byte(record)); in.order().by != "" || in.unsealedUnder("store", envelope.NewKey()) {
			t.Errorf("%s: %+v", record, in)
		}
	}
}

// FuzzIntent: without the root key nothing parses to a genuine intent to be unsealed.
func FuzzIntent(f *testing.F) {
	root := envelope.NewKey()
	genuine := unsealedIntent("aa", "store", root).encode()
	f.Add(genuine)
	f.Add(sealedIntent("aa").encode())
	f.Add([]byte(`{"format":1,"seal":"aa","mac":"00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := parseIntent(data)
		if in.unsealedUnder("store", root) && in.Seal != "aa" {
			t.Fatal("a forged intent is genuine")
		}
	})
}
