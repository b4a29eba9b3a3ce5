package lifecycle

import (
	"testing"

	"secretstore/seal/envelope"
)

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
