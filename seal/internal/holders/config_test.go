package holders

import (
	"bytes"
	"testing"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// TestConfigMACCoversEveryByte: neither the record with one byte changed, nor one
// with a member more, has a genuine MAC.
func TestConfigMACCoversEveryByte(t *testing.T) {
	pub, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const uuid = "b8d6ba4c-3a6a-4a3c-9d0a-55f3e6d4c1a2"
	_, held, err := New([]*pgp.PublicKey{pub}, 1, uuid)
	if err != nil {
		t.Fatal(err)
	}
	root := envelope.NewKey()
	genuine, err := NewConfig(uuid, held).Encode(root)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(data []byte, root *envelope.Key) Authenticity {
		c, err := ParseConfig(data)
		if err != nil {
			return Forged // not even a record
		}
		return c.Verify(root)
	}
	if got := verify(genuine, root); got != Genuine {
		t.Fatalf("the genuine record: %v", got)
	}
	if got := verify(genuine, envelope.NewKey()); got != Forged {
		t.Errorf("under another root key: %v", got)
	}
	for i := range genuine {
		changed := bytes.Clone(genuine)
		changed[i] ^= 1
		if got := verify(changed, root); got == Genuine {
			t.Fatalf("byte %d (%q) can be changed", i, genuine[i])
		}
	}
	for _, longer := range [][]byte{append(bytes.Clone(genuine), ' '), append([]byte(" "), genuine...),
		bytes.Replace(genuine, []byte("{"), []byte(`{"more":1,`), 1)} {
		if got := verify(longer, root); got == Genuine {
			t.Errorf("%s: %v", longer, got)
		}
	}
}

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
	root := envelope.NewKey()
	genuine, err := NewConfig(uuid, held).Encode(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"shares":1,"threshold":1,"keys":[""],"pgp_fingerprints":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err == nil && c.Verify(root) == Genuine && !bytes.Equal(data, genuine) {
			t.Fatalf("another record has a genuine MAC: %s", data)
		}
		if err == nil && (c.Shares < 1 || len(c.Keys) != c.Shares || c.Threshold > c.Shares || c.UUID == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
