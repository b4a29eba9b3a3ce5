package pgp

import (
	"bytes"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestForgedLongPrivateKeyIsRefusedUnchecked: checking numbers of the greatest
// length would take half a minute, so packets above the bound are refused by
// their length alone.
func TestForgedLongPrivateKeyIsRefusedUnchecked(t *testing.T) {
	for name, contents := range map[string]int{"at the bound": maxPrivatePacket, "above the bound": maxPrivatePacket + 1} {
		for _, tag := range []uint8{tagPrivateKey, tagPrivateSubkey} {
			var binary bytes.Buffer
			forged := packet.OpaquePacket{Tag: tag, Contents: make([]byte, contents)}
			if err := forged.Serialize(&binary); err != nil {
				t.Fatal(err)
			}
			if refused := checkPackets(binary.Bytes()) != nil; refused != (contents > maxPrivatePacket) {
				t.Errorf("%s, tag %d: refused: %v", name, tag, refused)
			}
		}
	}
}

// TestPrivateKeyAboveTheBoundIsNotParsed also checks that a generated key is
// within the bound.
func TestPrivateKeyAboveTheBoundIsNotParsed(t *testing.T) {
	key, err := generated[0]()
	if err != nil {
		t.Fatal(err)
	}
	armored, err := key.Armor()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePrivateKey(armored); err != nil {
		t.Errorf("a generated key: %v", err)
	}
	block, err := armor.Decode(bytes.NewReader(armored))
	if err != nil {
		t.Fatal(err)
	}
	var binary, longer bytes.Buffer
	if _, err := binary.ReadFrom(block.Body); err != nil {
		t.Fatal(err)
	}
	// A subkey after the key, which would be ignored if it were shorter.
	if err := (&packet.OpaquePacket{Tag: tagPrivateSubkey, Contents: make([]byte, maxPrivatePacket+1)}).Serialize(&binary); err != nil {
		t.Fatal(err)
	}
	w, err := armor.Encode(&longer, block.Type, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if longer.Len() > maxPrivateText {
		t.Fatalf("%d bytes of text: refused for the length of the text instead", longer.Len())
	}
	if _, err := ParsePrivateKey(longer.Bytes()); err == nil {
		t.Error("a key with a packet above the bound was parsed")
	}
}
