package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"secretstore/internal/watchfile"
)

// DefaultPoll is how often key sources are read.
const DefaultPoll = 5 * time.Second

// Watch says how a key source is watched.
type Watch struct {
	// Every is the period; 0 means [DefaultPoll].
	Every time.Duration
	// Report is called with nil when keys were loaded, at first and after each
	// change, and with an error when the source begins to fail, or fails
	// differently. The old keys then stay, except with [ErrRevoked] and
	// [ErrKeyLeftOut]. It may be nil. It is called from one goroutine at a time.
	Report func(error)
}

func (w Watch) every() time.Duration {
	if w.Every <= 0 {
		return DefaultPoll
	}
	return w.Every
}

func (w Watch) report(err error) {
	if w.Report != nil {
		w.Report(err)
	}
}

// LoadHMACFile sets the HS256 key from the first line of a file, once.
func (v *Verifier) LoadHMACFile(path string) error {
	content, err := watchfile.Read(path)
	if err != nil {
		return err
	}
	return v.setHMACFrom(path, content)
}

// WatchHMACFile sets the HS256 key from the first line of the file, now and
// whenever the file changes. An empty line revokes the key. It returns when ctx
// is done.
func (v *Verifier) WatchHMACFile(ctx context.Context, path string, w Watch) {
	watchfile.Poll(ctx, path, w.every(), func(content []byte, err error) {
		if err == nil {
			err = v.setHMACFrom(path, content)
		}
		w.report(err)
	})
}

func (v *Verifier) setHMACFrom(path string, content []byte) error {
	defer clear(content)
	key := FirstLine(content)
	defer clear(key)
	if err := v.SetHMACKey(key); err != nil {
		return fmt.Errorf("first line of %s: %w", path, err)
	}
	return nil
}

// WatchJWKS sets the key set from its source, now and whenever it changes. A
// set without keys revokes the old ones. It returns when ctx is done.
func (v *Verifier) WatchJWKS(ctx context.Context, source *JWKSSource, w Watch) {
	defer source.close()
	ticker := time.NewTicker(w.every())
	defer ticker.Stop()
	var last observation
	for {
		raw, err := source.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if now := observe(raw, err); now != last {
			last = now
			if err == nil {
				err = v.SetJWKS(raw)
			}
			if err != nil {
				err = fmt.Errorf("key set from %s: %w", source, err)
			}
			w.report(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// observation identifies the result of one read of a source. After a failure
// the same content is loaded and reported again.
type observation struct {
	sum     [sha256.Size]byte
	failure string
}

func observe(raw []byte, err error) observation {
	if err != nil {
		return observation{failure: err.Error()}
	}
	return observation{sum: sha256.Sum256(raw)}
}
