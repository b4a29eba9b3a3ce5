package changes

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secretstore/store"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(Record{}.Encode())
	f.Add(Record{Nonce: 7, Count: 9, IDs: []store.ID{1, 2}}.Encode())
	f.Add(bytes.Repeat([]byte{0xff}, 8*maxRecent+head+8))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			if len(c.IDs) > 0 || c.Count != 0 {
				t.Error("a result beside an error")
			}
			return
		}
		if !bytes.Equal(c.Encode(), data) {
			t.Errorf("%x parses, but is not what is written for it", data)
		}
		for _, seen := range []uint64{0, 1, c.Count - 1, c.Count, c.Count + 1, ^uint64(0)} {
			ids, ok := c.Since(seen)
			if ok && uint64(len(ids)) != c.Count-seen {
				t.Errorf("%d ids since %d of %d", len(ids), seen, c.Count)
			}
		}
	})
}

// TestReadersMissNoChange publishes batches, and lets a reader look now and
// then: it must learn of every id, or that it has missed some.
func TestReadersMissNoChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := &Own{}
		now := int64(0)
		seen, next := uint64(0), store.ID(1)
		var unseen []store.ID
		read := now
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			now += rapid.SampledFrom([]int64{0, 3, 60, 3000}).Draw(t, "ms") * 1e6
			var batch []store.ID
			for range rapid.SampledFrom([]int{0, 1, 2, 700, 1500}).Draw(t, "ids") {
				batch = append(batch, next)
				next++
			}
			record := own.Next(batch, now)
			if rapid.IntRange(0, 3).Draw(t, "had no effect") == 0 {
				continue
			}
			own.Published(batch, now)
			unseen = append(unseen, batch...)
			if rapid.Bool().Draw(t, "not read") {
				continue
			}
			parsed, err := Parse(record.Encode())
			if err != nil {
				t.Fatal(err)
			}
			ids, ok := parsed.Since(seen)
			if ok && !slices.Equal(ids, unseen) {
				t.Fatalf("%d changes were reported of %d", len(ids), len(unseen))
			}
			if late := now-read > recentFor && len(unseen) > minRecent; !ok && len(unseen) <= maxRecent && !late {
				t.Fatalf("%d changes were not reported within %v", len(unseen), time.Duration(now-read))
			}
			seen, unseen, read = parsed.Count, nil, now
		}
	})
}

func TestRecordsAndListingsHaveDifferentIDs(t *testing.T) {
	seen := make(map[store.ID]string)
	for _, key := range []string{"", "a", "la", "r", "rl", "a/b", "b"} {
		for kind, i := range map[string]store.ID{"record ": store.RecordID(key), "listing ": store.ListingID(key)} {
			if other, taken := seen[i]; taken {
				t.Errorf("%s%q has the id of %s", kind, key, other)
			}
			seen[i] = kind + key
		}
	}
}
