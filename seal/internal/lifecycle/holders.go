package lifecycle

import (
	"context"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
)

// Holders describes the present holders, without I/O; none before Init.
func (m *machine) Holders() []holders.Holder { return m.snapshot.Load().config.Describe() }

// HoldersReport is what Report returns.
type HoldersReport struct {
	Holders           []holders.Holder
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
