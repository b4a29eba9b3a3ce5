package lifecycle

import (
	"testing"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/holders"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// FuzzConfigRecord: what an attacker writes there is refused or well-formed.
func FuzzConfigRecord(f *testing.F) {
	pub, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	records, err := newStoreRecords("b8d6ba4c-3a6a-4a3c-9d0a-55f3e6d4c1a2", []*pgp.PublicKey{pub}, 1)
	if err != nil {
		f.Fatal(err)
	}
	genuine, err := records.config.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"shares":1,"threshold":1,"keys":[""],"pgp_fingerprints":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := holders.ParseConfig(data)
		if err == nil && (c.Shares < 1 || len(c.Keys) != c.Shares || c.Threshold > c.Shares || c.UUID == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
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
