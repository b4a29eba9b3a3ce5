package identities

import (
	"bytes"
	"testing"

	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
)

func FuzzParseHead(f *testing.F) {
	root := envelope.NewKey()
	h := head{seq: 7, indexes: [buckets]digest{3: {1}}}
	f.Add(h.encode("store", root))
	f.Add([]byte{headFormat})
	f.Add(bytes.Repeat([]byte{headFormat}, headSize+macSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, mac, err := parseHead(data)
		if err != nil {
			return
		}
		again := h.encode("store", root)
		if !bytes.Equal(again[:headSize], data[:headSize]) || !bytes.Equal(mac, data[headSize:]) {
			t.Error("the head is read as another one")
		}
		if _, err := openHead(data, "another store", root); err == nil {
			t.Error("a head of another store is genuine")
		}
	})
}

func TestOnlyTheRootKeyMakesAGenuineHead(t *testing.T) {
	root := envelope.NewKey()
	h := head{seq: 1, indexes: [buckets]digest{255: {9}}}
	data := h.encode("store", root)
	if got, err := openHead(data, "store", root); err != nil || got != h {
		t.Errorf("%v, %v", got.seq, err)
	}
	if _, err := openHead(data, "store", envelope.NewKey()); err == nil {
		t.Error("a head under another root key is genuine")
	}
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if _, err := openHead(changed, "store", root); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add(index{}.encode())
	f.Add(index{barrier.IAMName{1}: envelope.ID{2}, barrier.IAMName{3}: envelope.ID{4}}.encode())
	f.Add(append(index{barrier.IAMName{1}: {}}.encode(), make([]byte, entrySize)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parseIndex(data)
		if err != nil {
			return
		}
		if again, err := parseIndex(x.encode()); err != nil || len(again) != len(x) || (len(data)-1)/entrySize != len(x) {
			t.Errorf("%d records, %v", len(again), err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(iam.Record{Name: "user/alice", Data: []byte("data")}))
	f.Add([]byte{0, 0, 1})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, plain []byte) {
		r, err := decodeRecord(plain)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeRecord(r), plain) {
			t.Error("the record is read as another one")
		}
	})
}
