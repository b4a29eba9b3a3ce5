package mode

import (
	"testing"

	"secretstore/seal/envelope"
)

const store = "5c3f2a10-0000-4000-8000-000000000001"

func TestModesAreOrdered(t *testing.T) {
	if !(Mode(0) < Disabled && Disabled < Permissive && Permissive < Strict) {
		t.Error("the order is not disabled, permissive, strict")
	}
	for m := Disabled; m <= Strict; m++ {
		if got, err := Parse(m.String()); err != nil || got != m {
			t.Errorf("%v: parsed as %v, %v", m, got, err)
		}
	}
	for _, word := range []string{"", "unknown", "Strict", "strict ", Mode(0).String(), Mode(9).String()} {
		if m, err := Parse(word); err == nil || m != 0 {
			t.Errorf("%q is the mode %v", word, m)
		}
	}
}

// TestOnlyTheRootKeyMakesAGenuineRecord: a record of another store, under another
// root key, with another mode, or of another format counts as none.
func TestOnlyTheRootKeyMakesAGenuineRecord(t *testing.T) {
	root := envelope.NewKey()
	for m := Disabled; m <= Strict; m++ {
		record := ParseRecord(Encode(m, store, root))
		if got := record.Genuine(store, root); got != m || record.Claimed() != m || record.Newer() {
			t.Errorf("%v: genuine %v, claimed %v", m, got, record.Claimed())
		}
		if got := record.Genuine("another", root); got != 0 {
			t.Errorf("%v is genuine in another store", m)
		}
		if got := record.Genuine(store, envelope.NewKey()); got != 0 {
			t.Errorf("%v is genuine under another root key", m)
		}
		for other := Disabled; other <= Strict; other++ {
			forged := record
			forged.Name = other.String()
			if got := forged.Genuine(store, root); (got != 0) != (other == m) {
				t.Errorf("%v changed to %v is %v", m, other, got)
			}
		}
		newer := record
		newer.Format = 2
		if newer.Genuine(store, root) != 0 || newer.Claimed() != 0 || !newer.Newer() {
			t.Errorf("%v in format 2 is believed", m)
		}
	}
}

// FuzzParseRecord: nothing that an attacker writes is genuine, and what is kept of
// it is bounded.
func FuzzParseRecord(f *testing.F) {
	root, other := envelope.NewKey(), envelope.NewKey()
	for _, seed := range []string{"", "null", "{}", `{"format":1,"mode":"strict","mac":""}`, `{"format":1e9}`, `{"format":1,"mode":"strict","mac":"zz"}`} {
		f.Add([]byte(seed))
	}
	f.Add(Encode(Strict, store, other))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := ParseRecord(data)
		if r.Genuine(store, root) != 0 {
			t.Fatalf("%q is genuine", data)
		}
		if len(r.Name) > maxRecord || len(r.MAC) > maxRecord {
			t.Fatalf("%d bytes are kept", len(r.Name)+len(r.MAC))
		}
	})
}
