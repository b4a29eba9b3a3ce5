package store

import "testing"

// TestTheDigestsOfOneKeyDoNotDisplaceEachOther: who writes a folder asks for that
// of its record and that of its listing in turn.
func TestTheDigestsOfOneKeyDoNotDisplaceEachOther(t *testing.T) {
	const key = "stores/default/secrets/ab/folder"
	RecordDigest(key)
	ListingDigest(key)
	if n := testing.AllocsPerRun(100, func() { RecordDigest(key); ListingDigest(key) }); n > 0 {
		t.Errorf("%v allocations for digests that were asked for just now", n)
	}
	if RecordDigest(key) != hashed('r', key) || ListingDigest(key) != hashed('l', key) {
		t.Error("a remembered digest is not that of its key")
	}
}
