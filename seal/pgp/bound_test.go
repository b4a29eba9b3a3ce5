package pgp

import (
	"bytes"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestAForgedBootstrapKeyCostsNoTime: with numbers of the greatest length its check
// would take half a minute, so none is begun.
func TestAForgedBootstrapKeyCostsNoTime(t *testing.T) {
	for name, contents := range map[string]int{"as long as one of RSA-4096": maxPrivatePacket, "longer": maxPrivatePacket + 1} {
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

// TestAPrivateKeyBeyondTheBoundIsNotParsed: the generated one is within it.
func TestAPrivateKeyBeyondTheBoundIsNotParsed(t *testing.T) {
	key, err := generated[0]()
	if err != nil {
		t.Fatal(err)
	}
	armored, err := key.Armor()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePrivateKey(armored); err != nil {
		t.Errorf("the generated one: %v", err)
	}
	block, err := armor.Decode(bytes.NewReader(armored))
	if err != nil {
		t.Fatal(err)
	}
	var binary, longer bytes.Buffer
	if _, err := binary.ReadFrom(block.Body); err != nil {
		t.Fatal(err)
	}
	// A subkey behind it that would be ignored, were it not for its length.
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
		t.Fatalf("%d bytes of text", longer.Len())
	}
	if _, err := ParsePrivateKey(longer.Bytes()); err == nil {
		t.Error("one that is too long is parsed")
	}
}
