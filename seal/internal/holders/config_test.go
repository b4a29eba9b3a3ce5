package holders

import (
	"testing"
	"time"

	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// FuzzConfigRecord: a record from an attacker is refused or well-formed.
func FuzzConfigRecord(f *testing.F) {
	pub, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	const uuid = "b8d6ba4c-3a6a-4a3c-9d0a-55f3e6d4c1a2"
	_, held, err := New([]*pgp.PublicKey{pub}, 1, uuid)
	if err != nil {
		f.Fatal(err)
	}
	genuine, err := NewConfig(uuid, held).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"shares":1,"threshold":1,"keys":[""],"pgp_fingerprints":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err == nil && (c.Shares < 1 || len(c.Keys) != c.Shares || c.Threshold > c.Shares || c.UUID == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
