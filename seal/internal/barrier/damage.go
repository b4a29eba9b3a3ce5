package barrier

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"secretstore/store"
)

// Finding is what a reader of many records has skipped. The zero value is
// nothing.
type Finding struct {
	// Damaged counts the records that are of this store by their names, but cannot
	// be read or do not open. First are some of them.
	Damaged int
	First   []*DamagedRecord
	// Foreign counts names that this program does not make.
	Foreign int
}

// maxFirst bounds Finding.First.
const maxFirst = 16

// Skip adds the record that err is about, if it is a damaged record, and reports
// whether it is.
func (f *Finding) Skip(err error) bool {
	var record *DamagedRecord
	if !errors.As(err, &record) {
		return false
	}
	f.Join(Finding{Damaged: 1, First: []*DamagedRecord{record}})
	return true
}

// Join adds what another reader has skipped. A record that both name counts once.
func (f *Finding) Join(g Finding) {
	f.Damaged += g.Damaged
	f.Foreign += g.Foreign
	for _, record := range g.First {
		if f.names(record.Key) {
			f.Damaged--
		} else if len(f.First) < maxFirst {
			f.First = append(f.First, record)
		}
	}
}

// Damage remembers what readers have skipped, by scope: a key whose records, or
// those below it, one reader reads together. It names each record in the log
// once. Nothing depends on it but what operators see.
type Damage struct {
	log    *zap.Logger
	paced  *rate.Limiter
	mu     sync.Mutex
	scopes map[store.Key]scope // guarded by mu
	size   atomic.Int64        // of scopes
}

type scope struct {
	Finding
	forgetAt time.Time // zero: with the next report
}

const (
	// maxScopes bounds what is remembered, to some 5 MB.
	maxScopes = 1024
	// passing is how long a record is remembered that no reader reads regularly.
	passing = time.Hour
	// logEvery and logBurst bound the lines in the log.
	logEvery = time.Second
	logBurst = 20
)

func newDamage(log *zap.Logger) *Damage {
	return &Damage{log: log, paced: rate.NewLimiter(rate.Every(logEvery), logBurst), scopes: make(map[store.Key]scope)}
}

// Report replaces what was found in a scope.
func (d *Damage) Report(key store.Key, f Finding) { d.put(key, scope{Finding: f}) }

// Met notes how the read of one record ended: nil if it was read or is gone. A
// damaged one is forgotten when it was not read for an hour.
func (d *Damage) Met(key store.Key, err error) {
	var f Finding
	if f.Skip(err) {
		d.put(key, scope{Finding: f, forgetAt: time.Now().Add(passing)})
	} else if err == nil && d.size.Load() > 0 {
		d.put(key, scope{})
	}
}

func (d *Damage) put(key store.Key, s scope) {
	d.mu.Lock()
	before := d.scopes[key]
	switch {
	case s.Damaged == 0 && s.Foreign == 0:
		delete(d.scopes, key)
	case len(d.scopes) < maxScopes || before.Damaged > 0 || before.Foreign > 0:
		d.scopes[key] = s
	}
	d.size.Store(int64(len(d.scopes)))
	var fresh []*DamagedRecord
	for _, record := range s.First {
		if !before.names(record.Key) && !d.namedElsewhere(key, record.Key) {
			fresh = append(fresh, record)
		}
	}
	d.mu.Unlock()
	for _, record := range fresh {
		if d.paced.Allow() {
			d.log.Warn("a damaged record is skipped", zap.String("record", record.Key), zap.String("reason", record.Reason()))
		}
	}
}

func (f *Finding) names(key store.Key) bool {
	return slices.ContainsFunc(f.First, func(r *DamagedRecord) bool { return r.Key == key })
}

// namedElsewhere reports whether another scope than this one names a record.
// The caller holds mu.
func (d *Damage) namedElsewhere(this, record store.Key) bool {
	for key, s := range d.scopes {
		if key != this && s.names(record) {
			return true
		}
	}
	return false
}

// Keep forgets the folders of secrets that are gone.
func (d *Damage) Keep(folder func(key store.Key) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.scopes, func(key store.Key, s scope) bool {
		return s.forgetAt.IsZero() && strings.HasPrefix(key, KeySecrets+"/") && !folder(key)
	})
	d.size.Store(int64(len(d.scopes)))
}

// Any reports whether anything is remembered.
func (d *Damage) Any() bool { return d.size.Load() > 0 }

// Summary returns what is known. A rotation meets the records that others have
// met, too: they are counted once.
func (d *Damage) Summary() Finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.scopes, func(_ store.Key, s scope) bool {
		return !s.forgetAt.IsZero() && time.Now().After(s.forgetAt)
	})
	d.size.Store(int64(len(d.scopes)))
	var sum Finding
	for _, key := range slices.Sorted(maps.Keys(d.scopes)) {
		if key != KeyRotation {
			sum.Join(d.scopes[key].Finding)
		}
	}
	others := sum.Damaged
	swept := d.scopes[KeyRotation].Finding
	sum.Join(swept)
	sum.Damaged = max(others, swept.Damaged)
	return sum
}

// forget forgets everything.
func (d *Damage) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.scopes)
	d.size.Store(0)
}
