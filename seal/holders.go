package seal

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/pgp"
)

// Holder is one holder of the unseal key, as far as their public key tells.
type Holder struct {
	Fingerprint string
	UserID      string
	Algorithm   string
	Expires     time.Time // zero: never
	// Problem is why a new unseal key could not be wrapped for this holder; ""
	// if it could. What was wrapped before still opens.
	Problem string
}

// KeysReport is what an operator looks at to know that the keys are in order.
type KeysReport struct {
	Holders           []Holder
	Shares            int
	Threshold         int
	HoldsBootstrapKey bool
	RekeyUnderWay     bool // known only while unsealed
	// Terms is the number of data keys, and OldRecords how many records the
	// present pass has not brought under the newest; both are 0 while sealed.
	Terms      int
	OldRecords int64
	// Damaged records keep older data keys from leaving; DamagedRecord is the key
	// of one. See RotationInfo.
	Damaged       int64
	DamagedRecord string
}

// Holders describes the holders in force, without I/O; none before Init.
func (s *Store) Holders() []Holder {
	cfg := s.view.Load().config
	if cfg == nil {
		return nil
	}
	out := make([]Holder, 0, len(cfg.PublicKeys))
	for i, text := range cfg.PublicKeys {
		d, err := pgp.Describe(text, time.Now())
		if err != nil {
			out = append(out, Holder{Fingerprint: cfg.Fingerprints[i], Problem: "the public key in the storage cannot be read"})
			continue
		}
		h := Holder(d)
		if d.Fingerprint != cfg.Fingerprints[i] {
			h.Fingerprint, h.Problem = cfg.Fingerprints[i], "the public key in the storage is another one"
		}
		out = append(out, h)
	}
	return out
}

// Keys reports on the keys. ErrUninitialized, ErrDamaged, store.ErrUnavailable.
func (s *Store) Keys(ctx context.Context) (KeysReport, error) {
	v, err := s.look(ctx)
	if err != nil {
		return KeysReport{}, err
	}
	if err := s.ready(); err != nil {
		return KeysReport{}, err
	}
	if v.kind != storagePresent {
		return KeysReport{}, ErrDamaged
	}
	report := KeysReport{Holders: s.Holders(), Shares: v.config.Shares, Threshold: v.config.Threshold, HoldsBootstrapKey: v.holdsBootstrapKey}
	if !s.barrier.isOpen() {
		return report, nil
	}
	rotation, err := s.RotationStatus(ctx)
	if err != nil {
		return KeysReport{}, err
	}
	rekey, err := s.RekeyStatus(ctx)
	if err != nil {
		return KeysReport{}, err
	}
	report.Terms, report.OldRecords, report.RekeyUnderWay = rotation.Terms, rotation.Total-rotation.Done, rekey.Active
	if rotation.State == RotationBlocked {
		report.Damaged, report.DamagedRecord = rotation.Damaged, rotation.DamagedRecord
	}
	return report, nil
}

// warnDays are how many days before a holder's key expires the log says so.
var warnDays = [...]int{7, 30, 60}

// ExpiryWarning returns what to tell people of a key that expires soon or has
// expired; "" if there is nothing to tell.
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

// warnAboutHolders logs each holder's warning when it changes.
func (s *Store) warnAboutHolders(told map[string]string) {
	for _, h := range s.Holders() {
		warning := h.ExpiryWarning(time.Now())
		if warning == "" {
			warning = h.Problem
		}
		if warning != "" && told[h.Fingerprint] != warning {
			s.log.Warn("a holder's PGP key needs attention", zap.String("pgp_fingerprint", h.Fingerprint),
				zap.String("reason", warning), zap.String("expires", expiryDay(h.Expires)))
		}
		told[h.Fingerprint] = warning
	}
}
