package holders

import (
	"fmt"
	"time"

	"go.uber.org/zap"

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

// Describe describes the present holders; none if there is no record.
func (c *Config) Describe() []Holder {
	if c == nil {
		return nil
	}
	return c.Holding.Describe()
}

// Describe describes the holders.
func (h *Holding) Describe() []Holder {
	out := make([]Holder, 0, len(h.PublicKeys))
	for i, text := range h.PublicKeys {
		d, err := pgp.Describe(text, time.Now())
		if err != nil {
			out = append(out, Holder{Fingerprint: h.Fingerprints[i], Problem: "the public key in the storage cannot be read"})
			continue
		}
		if d.Fingerprint != h.Fingerprints[i] {
			d.Fingerprint, d.Problem = h.Fingerprints[i], "the public key in the storage is another one"
		}
		out = append(out, Holder(d))
	}
	return out
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

// Warnings are the last warnings about holders, by fingerprint.
type Warnings map[string]string

// Log logs each holder's warning if it has changed.
func (w Warnings) Log(log *zap.Logger, holders []Holder) {
	for _, h := range holders {
		warning := h.ExpiryWarning(time.Now())
		if warning == "" {
			warning = h.Problem
		}
		if warning != "" && w[h.Fingerprint] != warning {
			log.Warn("a holder's PGP key needs attention", zap.String("pgp_fingerprint", h.Fingerprint),
				zap.String("reason", warning), zap.String("expires", expiryDay(h.Expires)))
		}
		w[h.Fingerprint] = warning
	}
}
