package acl

// filter says of most texts that they are not in a set, nor begin with one of the set,
// without a look at the set: a user may be in many groups with many grants. It is a
// Bloom filter. A nil filter says nothing.
type filter struct {
	bits    []uint64 // their number is a power of two
	lengths []int    // of the texts that others may begin with, each once
}

const (
	// fewGrants are looked up without a filter, and so are all if a user has them in
	// few sets.
	fewGrants = 16
	fewSets   = 12
	// maxLengths bounds the beginnings of a text that are tried.
	maxLengths = 12
	// bitsEach make that about one text in 60 passes that is not in the set.
	bitsEach = 16
)

// newFilter returns a filter with room for n texts, or nil if they are few.
func newFilter(n int) *filter {
	if n <= fewGrants {
		return nil
	}
	words := 1
	for words*64 < n*bitsEach {
		words *= 2
	}
	return &filter{bits: make([]uint64, words)}
}

// places returns where the bits of a hash are.
func (f *filter) places(h uint64) (a, b uint64) {
	mask := uint64(len(f.bits)*64 - 1)
	return h & mask, h >> 32 & mask
}

func (f *filter) add(text string) {
	a, b := f.places((&hashed{text: text}).upTo(len(text)))
	f.bits[a/64] |= 1 << (a % 64)
	f.bits[b/64] |= 1 << (b % 64)
}

// has reports whether the first n bytes of t may be a text of the set.
func (f *filter) has(t *hashed, n int) bool {
	a, b := f.places(t.upTo(n))
	return f.bits[a/64]&(1<<(a%64)) != 0 && f.bits[b/64]&(1<<(b%64)) != 0
}

// mayHave reports whether t may be in the set.
func (f *filter) mayHave(t *hashed) bool { return f == nil || t.few || f.has(t, len(t.text)) }

// mayBegin reports whether t may begin with a text of the set.
func (f *filter) mayBegin(t *hashed) bool {
	if f == nil || t.few || len(f.lengths) > maxLengths {
		return true
	}
	for _, n := range f.lengths {
		if n <= len(t.text) && f.has(t, n) {
			return true
		}
	}
	return false
}

// hashed is a text with the hashes of its beginnings, by length: FNV-1a makes all of
// them on its way. They are made once, when a filter asks. Somebody who finds texts with
// the same hash makes decisions slower, but no others.
type hashed struct {
	text   string
	few    bool     // no filter is worth its hashes
	hashes []uint64 // nil: not made yet
}

// upTo returns the hash of the first n bytes.
func (t *hashed) upTo(n int) uint64 {
	if t.hashes == nil {
		h := uint64(14695981039346656037)
		t.hashes = append(make([]uint64, 0, len(t.text)+1), h)
		for i := range len(t.text) {
			h = (h ^ uint64(t.text[i])) * 1099511628211
			t.hashes = append(t.hashes, h)
		}
	}
	return t.hashes[n]
}
