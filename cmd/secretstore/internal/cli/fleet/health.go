package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// Level says what a finding means for the exit status of status.
type Level string

// The levels, the worst last.
const (
	Warning Level = "warning" // none: 0
	Closed  Level = "sealed"  // 5: sealed or uninitialized
	Problem Level = "problem" // 6
)

// Finding is one thing that an operator should know.
type Finding struct {
	Level  Level  `json:"level"`
	Server string `json:"server,omitempty"` // "": it is about the store
	Text   string `json:"text"`
}

const (
	// expiresSoon is how long before its end a certificate or a holder's key is a
	// problem, and certificateWarning how long before a warning is about a
	// certificate. The server decides when one is about a key.
	expiresSoon        = 7 * 24 * time.Hour
	certificateWarning = 30 * 24 * time.Hour
)

// Judge returns what is wrong with the servers and the keys of a store, and the exit
// status that follows: ExitUnhealthy beats ExitSealed beats ExitOK.
func Judge(now time.Time, members []*Member, holders []wire.KeyHolder) (all []Finding, status int) {
	for _, m := range members {
		all = append(all, judgeServer(now, m)...)
	}
	for _, h := range holders {
		all = append(all, judgeHolder(now, h)...)
	}
	status = base.ExitOK
	for _, f := range all {
		switch f.Level {
		case Closed:
			status = max(status, base.ExitSealed)
		case Problem:
			status = max(status, base.ExitUnhealthy)
		}
	}
	return all, status
}

func judgeServer(now time.Time, m *Member) (all []Finding) {
	add := func(level Level, text string) { all = append(all, Finding{level, m.URL, base.OneLine(text)}) }
	if m.Err != nil {
		add(Problem, m.Err.Error())
		return all
	}
	switch state := m.State(); state {
	case "unsealed":
	case Damaged:
		add(Problem, "the storage is damaged: the server serves nothing and overwrites nothing; see its log, and restore the storage from a backup")
	default:
		add(Closed, state)
	}
	if m.notReady != "" {
		add(Problem, m.notReady)
	}
	var faults []string
	if about := m.Seal.Server; about != nil {
		for _, f := range about.Faults {
			add(faultLevel(f.Kind), f.Text)
			faults = append(faults, f.Text)
		}
		// A server may know the state of its storage and have no text for it.
		if len(about.Faults) == 0 && about.Storage != wire.StorageUp {
			add(Problem, "the storage is "+about.Storage)
		}
		if at := about.CertificateExpires; !at.IsZero() && at.Sub(now) <= certificateWarning {
			add(expiryLevel(now, at), "the TLS certificate "+expiryText(now, at))
		}
	}
	for _, warning := range m.Seal.Warnings {
		if !slices.Contains(faults, warning) {
			add(Warning, warning)
		}
	}
	return all
}

// faultLevel returns the level of a kind of fault. Kinds that this program does not
// know are warnings.
func faultLevel(kind string) Level {
	switch kind {
	case wire.FaultStorage, wire.FaultDisk, wire.FaultAudit, wire.FaultRotation, wire.FaultMode, wire.FaultRestore:
		return Problem
	}
	return Warning
}

func judgeHolder(now time.Time, h wire.KeyHolder) (all []Finding) {
	name := base.OneLine("the PGP key of " + h.Fingerprint + " " + h.UserID)
	if h.Expires != nil && h.Expires.Sub(now) <= expiresSoon {
		all = append(all, Finding{Level: Problem, Text: name + " " + expiryText(now, *h.Expires) + ": extend it, or rekey to another"})
	} else if h.Warning != "" {
		all = append(all, Finding{Level: Warning, Text: name + ": " + base.OneLine(h.Warning)})
	}
	if h.Problem != "" {
		all = append(all, Finding{Level: Warning, Text: name + ": " + base.OneLine(h.Problem)})
	}
	return all
}

func expiryLevel(now, at time.Time) Level {
	if at.Sub(now) <= expiresSoon {
		return Problem
	}
	return Warning
}

func expiryText(now, at time.Time) string {
	if !at.After(now) {
		return "has expired on " + at.UTC().Format(time.DateOnly)
	}
	return "expires on " + at.UTC().Format(time.DateOnly)
}

// readyBut begins what a server says that can be read from, but not written to.
const readyBut = "ready to read, but "

// Examine asks the servers that said nothing about themselves, to this user or at
// all, what they tell everybody: whether the storage answers, and whether they are
// ready. A proxy may answer in their place, so other answers mean nothing.
func (f *Fleet) Examine(ctx context.Context) {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		if m.Err != nil || m.Seal.Server != nil {
			return
		}
		switch err := m.Client.Ping(ctx); {
		case errors.Is(err, client.ErrUnavailable):
			m.storage, m.notReady = wire.StorageUnreachable, err.Error()
			return
		case err == nil:
			m.storage = wire.StorageUp
		}
		if m.State() != "unsealed" {
			return
		}
		text, err := m.Client.Readiness(ctx)
		if errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrSealed) { // since Look
			m.notReady = err.Error()
		} else if strings.HasPrefix(text, readyBut) {
			m.notReady = text
		}
	})
}

// Storage returns the state of the member's storage as in wire.ServerReport, or "-"
// if it is not known.
func (m *Member) Storage() string {
	if m.Err == nil && m.Seal.Server != nil {
		return m.Seal.Server.Storage
	}
	return cmp.Or(m.storage, "-")
}

// Since returns since when the member is in its state, and who sealed it; "-" if that
// is not known.
func (m *Member) Since() (at, by string) {
	about := m.Seal.Server
	if m.Err != nil || about == nil {
		return "-", "-"
	}
	since := about.Since
	if about.State == "sealed" && !about.SealedAt.IsZero() {
		since = about.SealedAt
	}
	return whenOr(since), cmp.Or(base.OneLine(about.SealedBy), "-")
}

func whenOr(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// version returns the version of the member; "-" if that is not known.
func (m *Member) version() string {
	if m.Err != nil || m.Seal.Server == nil {
		return "-"
	}
	return cmp.Or(base.OneLine(m.Seal.Server.Version), "-")
}

// StorageText returns the state of the storage for people.
func (m *Member) StorageText() string {
	switch state := m.Storage(); {
	case state == wire.StorageUp || state == "-":
		return m.Backend.Driver
	case m.Seal.Server != nil && !m.Seal.Server.StorageSince.IsZero():
		return fmt.Sprintf("%s, %s since %s", m.Backend.Driver, base.OneLine(state), whenOr(m.Seal.Server.StorageSince))
	default:
		return m.Backend.Driver + ", " + base.OneLine(state)
	}
}
