package bootstrapkey

import (
	"testing"

	"secretstore/seal/sealtest"
)

// FuzzRecord reads what a storage, or a backup, has instead of the record: it is
// refused, or a key that is read again as it is written.
func FuzzRecord(f *testing.F) {
	private, err := sealtest.GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	record, err := Encode(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add(record[1 : len(record)-1])
	f.Add(record[:len(record)/2])
	f.Add([]byte(`""`))
	f.Fuzz(func(t *testing.T, data []byte) {
		private, err := decodeRecord(data)
		if (private == nil) != (err != nil) {
			t.Fatalf("%v, %v", private, err)
		}
		if err != nil {
			return
		}
		again, err := Encode(private)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decodeRecord(again); err != nil || same.Fingerprint() != private.Fingerprint() {
			t.Errorf("%s is read as another key: %v", again, err)
		}
	})
}
