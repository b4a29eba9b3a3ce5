package store

import "testing"

// TestDigestsAreThoseThatOtherServersCompute pins them to sha256sum's of "r" or
// "l" and the key: servers tell each other what has changed by them.
func TestDigestsAreThoseThatOtherServersCompute(t *testing.T) {
	const key = "stores/default/secrets/ab/folder"
	if got, want := RecordDigest(key), (Digest{0x680d67ddd7626dc4, 0xbd405f682e29caa2}); got != want {
		t.Errorf("the record's is %x, want %x", got, want)
	}
	if got, want := ListingDigest(key), (Digest{0x187f895827674228, 0x7ced3902998ba7d2}); got != want {
		t.Errorf("the listing's is %x, want %x", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { RecordDigest(key); ListingDigest(key) }); n > 0 {
		t.Errorf("%v allocations for two digests", n)
	}
}
