package seal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/store/bolt"
)

// TestRotatedBoltFileHoldsNothingUnderTheOldRootKey: an attacker who has an older
// copy of the file and its bootstrap key must learn nothing from a newer copy.
func TestRotatedBoltFileHoldsNothingUnderTheOldRootKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.db")
	b, err := bolt.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, _ := unsealedOn(t, b)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	old := dump(t, b)
	info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyRekey(ctx, info.Nonce, []byte(sharesOf(t, info.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	settleRotation(t, s)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string][]byte{"the old root record": old[barrier.KeyRoot].Data, "the old keyring": old[barrier.KeyKeyring].Data} {
		if bytes.Contains(content, record) {
			t.Errorf("%s is still in the file", name)
		}
	}
	if bytes.Contains(content, []byte(barrier.KeyHandover)) {
		t.Error("a handover record is still in the file")
	}
}
