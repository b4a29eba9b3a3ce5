package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"secretstore/iam"
)

const (
	// usedEvery is how often the times of last use are written.
	usedEvery = time.Hour
	// usedPrecision is how much newer a time must be to be written: accounts that
	// several servers see are written less often.
	usedPrecision = usedEvery / 2
	// usedAtOnce bounds the records of one write.
	usedAtOnce = 16
	usedFormat = 1 // the first byte of a record; JSON follows
)

// Used notes that an account was used now: it has signed in, or sent a token.
func (a *Authority) Used(uid iam.UID) {
	now := a.now()
	if last, ok := a.upkeep.used.Load(uid); ok && now.Sub(last.(time.Time)) < time.Minute {
		return
	}
	a.upkeep.used.Store(uid, now)
}

// LastUses returns when accounts were last used, as far as it is known: to the
// minute on this server, and to the hour on others.
func (a *Authority) LastUses() map[iam.UID]time.Time {
	all := make(map[iam.UID]time.Time)
	for _, data := range a.Records(usedPrefix) {
		maps.Copy(all, decodeUsed(data))
	}
	for uid, at := range a.upkeep.seen() {
		if at.After(all[uid]) {
			all[uid] = at
		}
	}
	return all
}

// seen returns what this server has seen.
func (k *upkeep) seen() map[iam.UID]time.Time {
	all := make(map[iam.UID]time.Time)
	k.used.Range(func(uid, at any) bool {
		all[uid.(iam.UID)] = at.(time.Time)
		return true
	})
	return all
}

// usedRecord returns the name of the record with the last use of an account, one
// of 256.
func usedRecord(uid iam.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return usedPrefix + hex.EncodeToString(sum[:1])
}

// writeUsed writes the times of last use. It reports false if the storage did not
// take them all.
func (k *upkeep) writeUsed(ctx context.Context) bool {
	d, err := k.authority.Directory()
	if err != nil {
		return false
	}
	names := make(map[string]bool)
	for uid := range k.seen() {
		if _, ok := d.Identity(uid); ok {
			names[usedRecord(uid)] = true
		} else {
			k.used.Delete(uid)
		}
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(names)), usedAtOnce) {
		if !k.writeUsedPart(ctx, part) {
			return false
		}
	}
	return true
}

func (k *upkeep) writeUsedPart(ctx context.Context, names []string) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	err := k.authority.write(ctx, func(s *state) (put []iam.Record, _ []string, err error) {
		seen := k.seen()
		for _, name := range names {
			if data, changed := usedNow(s, name, seen); changed {
				put = append(put, iam.Record{Name: name, Data: data})
			}
		}
		return put, nil, nil
	})
	return err == nil
}

// usedNow returns the record name with what this server has seen, without accounts
// that do not exist.
func usedNow(s *state, name string, seen map[iam.UID]time.Time) (data []byte, changed bool) {
	times := decodeUsed(s.records[name])
	for uid, at := range seen {
		if usedRecord(uid) == name && at.Sub(times[uid]) >= usedPrecision {
			times[uid], changed = at, true
		}
	}
	stored := make(map[iam.UID]int64)
	for uid, at := range times {
		if _, ok := s.directory.Identity(uid); ok {
			stored[uid] = at.Unix()
		}
	}
	text, err := json.Marshal(stored)
	data = append([]byte{usedFormat}, text...)
	return data, changed && err == nil && len(data) <= iam.MaxRecordBytes
}

// decodeUsed returns the times in a record; none if it is not well-formed.
func decodeUsed(data []byte) map[iam.UID]time.Time {
	times := make(map[iam.UID]time.Time)
	var stored map[string]int64
	if len(data) == 0 || data[0] != usedFormat || json.Unmarshal(data[1:], &stored) != nil {
		return times
	}
	for name, at := range stored {
		if uid, err := iam.ParseUID(name); err == nil {
			times[uid] = time.Unix(at, 0)
		}
	}
	return times
}
