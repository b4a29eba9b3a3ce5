package lifecycle

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/pgp"
)

// Holder is a holder of the unseal key, as the public key describes them.
type Holder struct {
	Fingerprint string
	UserID      string
	Algorithm   string
	Expires     time.Time // zero: never
	// Problem is why a new unseal key could not be wrapped for this holder; ""
	// if it could. What was wrapped before still opens.
	Problem string
}

// Holders describes the present holders, without I/O; none before Init.
func (m *machine) Holders() []Holder { return m.snapshot.Load().config.holders() }

func (c *configRecord) holders() []Holder {
	if c == nil {
		return nil
	}
	out := make([]Holder, 0, len(c.PublicKeys))
	for i, text := range c.PublicKeys {
		d, err := pgp.Describe(text, time.Now())
		if err != nil {
			out = append(out, Holder{Fingerprint: c.Fingerprints[i], Problem: "the public key in the storage cannot be read"})
			continue
		}
		h := Holder(d)
		if d.Fingerprint != c.Fingerprints[i] {
			h.Fingerprint, h.Problem = c.Fingerprints[i], "the public key in the storage is another one"
		}
		out = append(out, h)
	}
	return out
}

// HoldersReport is what Report returns.
type HoldersReport struct {
	Holders           []Holder
	Shares            int
	Threshold         int
	HoldsBootstrapKey bool
}

// Report reads the life-cycle records and describes the holders. ErrUninitialized,
// ErrDamaged, store.ErrUnavailable.
func Report(ctx context.Context, l *Lifecycle) (HoldersReport, error) {
	s, err := l.takeSnapshot(ctx)
	if err != nil {
		return HoldersReport{}, err
	}
	if err := l.ready(); err != nil {
		return HoldersReport{}, err
	}
	if s.state != storagePresent {
		return HoldersReport{}, barrier.ErrDamaged
	}
	return HoldersReport{Holders: l.Holders(), Shares: s.config.Shares, Threshold: s.config.Threshold, HoldsBootstrapKey: s.holdsBootstrapKey}, nil
}

// warnDays are how many days before a holder's key expires the log says so.
var warnDays = [...]int{7, 30, 60}

// ExpiryWarning returns a warning about a key that expires soon or has expired;
// "" if there is none.
func (h Holder) ExpiryWarning(now time.Time) string {
	if h.Expires.IsZero() {
		return ""
	}
	left := h.Expires.Sub(now)
	if left <= 0 {
		return "the key has expired: extend it, or rekey to another"
	}
	for _, days := range warnDays {
		if left <= time.Duration(days)*24*time.Hour {
			return fmt.Sprintf("the key expires in less than %d days: extend it, or rekey to another", days)
		}
	}
	return ""
}

func expiryDay(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.DateOnly)
}

// warnAboutHolders logs each holder's warning when it changes. warned has the last
// warnings by fingerprint.
func (m *machine) warnAboutHolders(warned map[string]string) {
	for _, h := range m.Holders() {
		warning := h.ExpiryWarning(time.Now())
		if warning == "" {
			warning = h.Problem
		}
		if warning != "" && warned[h.Fingerprint] != warning {
			m.log.Warn("a holder's PGP key needs attention", zap.String("pgp_fingerprint", h.Fingerprint),
				zap.String("reason", warning), zap.String("expires", expiryDay(h.Expires)))
		}
		warned[h.Fingerprint] = warning
	}
}
