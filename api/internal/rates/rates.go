// Package rates limits how often each of many clients may do something.
package rates

import (
	"fmt"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// maxKeys bounds how many clients a Limit remembers; one takes some 200 bytes.
// A client that is forgotten starts again, so a flood from more networks than
// this gets through.
const maxKeys = 16 << 10

// Limit is a rate for each key.
type Limit[K comparable] struct {
	each  rate.Limit
	burst int
	keys  *otter.Cache[K, *rate.Limiter]
}

// New returns a limit of so many events a second for each key, of which burst
// may come at once.
func New[K comparable](perSecond float64, burst int) (*Limit[K], error) {
	keys, err := otter.New(&otter.Options[K, *rate.Limiter]{MaximumSize: maxKeys})
	if err != nil {
		return nil, fmt.Errorf("make a table of rates: %w", err)
	}
	return &Limit[K]{rate.Limit(perSecond), burst, keys}, nil
}

// Allow counts an event of a key, and reports whether it is within the rate.
func (l *Limit[K]) Allow(key K) bool {
	limiter, known := l.keys.GetIfPresent(key)
	if !known {
		limiter, _ = l.keys.SetIfAbsent(key, rate.NewLimiter(l.each, l.burst))
	}
	return limiter.Allow()
}
