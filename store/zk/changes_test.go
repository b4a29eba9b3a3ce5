package zk

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func FuzzParseChange(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(change{}.encode())
	f.Add(change{nonce: 7, count: 9, ids: []id{1, 2}}.encode())
	f.Add(bytes.Repeat([]byte{0xff}, 8*maxRecent+changeHead+8))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseChange(data)
		if err != nil {
			if len(c.ids) > 0 || c.count != 0 {
				t.Error("a result beside an error")
			}
			return
		}
		if !bytes.Equal(c.encode(), data) {
			t.Errorf("%x parses, but is not what is written for it", data)
		}
		for _, seen := range []uint64{0, 1, c.count - 1, c.count, c.count + 1, unread} {
			ids, ok := c.since(seen)
			if ok && uint64(len(ids)) != c.count-seen {
				t.Errorf("%d ids since %d of %d", len(ids), seen, c.count)
			}
		}
	})
}

// TestReadersMissNoChange publishes batches, and lets a reader look now and
// then: it must learn of every id, or that it has missed some.
func TestReadersMissNoChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := &ownChanges{exists: true}
		now := time.Unix(0, 0)
		seen, next := uint64(0), id(1)
		var unseen []id
		read := now
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 3, 60, 3000}).Draw(t, "ms")) * time.Millisecond)
			var batch []id
			for range rapid.SampledFrom([]int{0, 1, 2, 700, 1500}).Draw(t, "ids") {
				batch = append(batch, next)
				next++
			}
			record := own.next(batch, now)
			if rapid.IntRange(0, 3).Draw(t, "had no effect") == 0 {
				continue
			}
			own.published(batch, now)
			unseen = append(unseen, batch...)
			if rapid.Bool().Draw(t, "not read") {
				continue
			}
			parsed, err := parseChange(record.encode())
			if err != nil {
				t.Fatal(err)
			}
			ids, ok := parsed.since(seen)
			if ok && !slices.Equal(ids, unseen) {
				t.Fatalf("told of %d changes, there were %d", len(ids), len(unseen))
			}
			if late := now.Sub(read) > recentFor && len(unseen) > minRecent; !ok && len(unseen) <= maxRecent && !late {
				t.Fatalf("not told of %d changes after %v", len(unseen), now.Sub(read))
			}
			seen, unseen, read = parsed.count, nil, now
		}
	})
}

func TestRecordsAndListingsHaveDifferentIDs(t *testing.T) {
	seen := make(map[id]string)
	for _, key := range []string{"", "a", "la", "r", "rl", "a/b", "b"} {
		for kind, i := range map[string]id{"record ": recordID(key), "listing ": listingID(key)} {
			if other, taken := seen[i]; taken {
				t.Errorf("%s%q has the id of %s", kind, key, other)
			}
			seen[i] = kind + key
		}
	}
}
