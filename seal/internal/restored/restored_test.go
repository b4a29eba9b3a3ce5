package restored

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"secretstore/seal/envelope"
)

var root = envelope.NewKey()

func example() Record {
	sum := sha256.Sum256([]byte("a backup"))
	return Record{Sum: sum[:], MAC: MAC(sum[:], root), Made: time.Unix(1_700_000_000, 0).UTC(), WithoutIAM: true}
}

func TestOnlyTheRootKeyMakesAGenuineRecord(t *testing.T) {
	r, err := Parse(example().Encode())
	if err != nil || !r.Genuine(root) || r.Genuine(envelope.NewKey()) || !r.Made.Equal(example().Made) || !r.WithoutIAM {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Sum[0] ^= 1
	if r.Genuine(root) || (Record{}).Genuine(root) {
		t.Error("a record of another backup is genuine")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().Encode())
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2,"sha256":"AAAA"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(r.Encode())
		if err != nil || !bytes.Equal(again.Sum, r.Sum) || !bytes.Equal(again.MAC, r.MAC) || !again.Made.Equal(r.Made) || again.WithoutIAM != r.WithoutIAM {
			text, _ := json.Marshal(r)
			t.Errorf("%s is read as %+v, %v", text, again, err)
		}
		if r.Genuine(envelope.NewKey()) {
			t.Error("a record that was made without the root key is genuine")
		}
	})
}
