package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// TestExitStatusOfTheWorstFact: a problem beats a seal, which beats a warning.
func TestExitStatusOfTheWorstFact(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	member := func(change func(*Member)) *Member {
		m := &Member{URL: "http://a", Backend: wire.Backend{Driver: "bolt", Initialized: true, UUID: "u"}}
		m.Seal = wire.SealStatus{Shares: 1, Threshold: 1, UUID: "u", Server: &wire.ServerReport{State: "unsealed", Storage: wire.StorageUp}}
		if change != nil {
			change(m)
		}
		return m
	}
	well := member(nil)
	sealed := member(func(m *Member) { m.Backend.Sealed, m.Seal.Sealed = true, true })
	empty := member(func(m *Member) { m.Backend.Initialized, m.Backend.Sealed, m.Seal.Sealed = false, true, true })
	damaged := member(func(m *Member) { m.Backend.Sealed, m.Seal.Shares = true, 0 })
	failed := func(err error) *Member { return &Member{URL: "http://b", Err: err} }
	old := member(func(m *Member) { m.Seal.Server = nil })
	notReady := member(func(m *Member) { m.Seal.Server, m.notReady = nil, "the disk is full" })
	warned := member(func(m *Member) { m.Seal.Warnings = []string{"a policy file is broken"} })
	faulty := func(kind string) *Member {
		return member(func(m *Member) {
			m.Seal.Server.Faults, m.Seal.Warnings = []wire.Fault{{Kind: kind, Text: "the reason"}}, []string{"the reason"}
		})
	}
	storage := func(state string) *Member { return member(func(m *Member) { m.Seal.Server.Storage = state }) }
	certificate := func(left time.Duration) *Member {
		return member(func(m *Member) { m.Seal.Server.CertificateExpires = now.Add(left) })
	}
	holder := func(left time.Duration, warning, problem string) []wire.KeyHolder {
		at := now.Add(left)
		return []wire.KeyHolder{{Fingerprint: "ab", UserID: "bob", Expires: &at, Warning: warning, Problem: problem}}
	}
	for name, row := range map[string]struct {
		members  []*Member
		holders  []wire.KeyHolder
		want     int
		findings int
	}{
		"healthy":                          {[]*Member{well, well}, holder(400*day, "", ""), 0, 0},
		"an older server":                  {[]*Member{old}, nil, 0, 0},
		"a warning":                        {[]*Member{warned}, nil, 0, 1},
		"sealed":                           {[]*Member{sealed}, nil, 5, 1},
		"one of two sealed":                {[]*Member{well, sealed}, nil, 5, 1},
		"uninitialized":                    {[]*Member{empty}, nil, 5, 1},
		"damaged":                          {[]*Member{damaged}, nil, 6, 1},
		"unreachable":                      {[]*Member{failed(errors.New("refused"))}, nil, 6, 1},
		"unavailable":                      {[]*Member{failed(&client.Error{Status: 503})}, nil, 6, 1},
		"unreachable beats sealed":         {[]*Member{failed(errors.New("refused")), sealed}, nil, 6, 2},
		"one of two refuses":               {[]*Member{well, failed(&client.Error{Status: 401})}, nil, 6, 1},
		"the storage does not answer":      {[]*Member{faulty(wire.FaultStorage)}, nil, 6, 1},
		"the storage, without a text":      {[]*Member{storage(wire.StorageUnreachable)}, nil, 6, 1},
		"a full disk":                      {[]*Member{faulty(wire.FaultDisk)}, nil, 6, 1},
		"a full disk, without a text":      {[]*Member{storage(wire.StorageFull)}, nil, 6, 1},
		"the audit log fails":              {[]*Member{faulty(wire.FaultAudit)}, nil, 6, 1},
		"the rotation is stuck":            {[]*Member{faulty(wire.FaultRotation)}, nil, 6, 1},
		"restored from a bad file":         {[]*Member{faulty(wire.FaultRestore)}, nil, 6, 1},
		"a fault of a later release":       {[]*Member{faulty("tides")}, nil, 0, 1},
		"an older server is not ready":     {[]*Member{notReady}, nil, 6, 1},
		"a certificate for 31 days":        {[]*Member{certificate(31 * day)}, nil, 0, 0},
		"a certificate for 8 days":         {[]*Member{certificate(8 * day)}, nil, 0, 1},
		"a certificate for 7 days":         {[]*Member{certificate(7 * day)}, nil, 6, 1},
		"a certificate of yesterday":       {[]*Member{certificate(-day)}, nil, 6, 1},
		"a holder's key for 8 days":        {[]*Member{well}, holder(8*day, "it expires in less than 30 days", ""), 0, 1},
		"a holder's key for 7 days":        {[]*Member{well}, holder(7*day, "it expires in less than 7 days", ""), 6, 1},
		"a holder's key of yesterday":      {[]*Member{well}, holder(-day, "the key has expired", ""), 6, 1},
		"a holder's key that is useless":   {[]*Member{well}, holder(400*day, "", "it cannot encrypt"), 0, 1},
		"a holder's key, and a seal":       {[]*Member{sealed}, holder(day, "", ""), 6, 2},
		"a warning does not hide a seal":   {[]*Member{warned, sealed}, nil, 5, 2},
		"an unsealed one hides no problem": {[]*Member{faulty(wire.FaultAudit), well}, nil, 6, 1},
	} {
		all, got := Judge(now, row.members, row.holders)
		if got != row.want || len(all) != row.findings {
			t.Errorf("%s: exit status %d, want %d; findings: %+v", name, got, row.want, all)
		}
	}
}

// TestNothingThatAServerSendsWidensTheTable, or drives the terminal.
func TestNothingThatAServerSendsWidensTheTable(t *testing.T) {
	long := "\x1b[2J" + strings.Repeat("x", 500) + "\n"
	m := &Member{URL: "http://a", Backend: wire.Backend{Initialized: true, Sealed: true, UUID: "u"}, Seal: wire.SealStatus{Shares: 1, Sealed: true,
		Server: &wire.ServerReport{State: "sealed", Version: long, Storage: long, SealedBy: long}}}
	var out strings.Builder
	if err := (&Fleet{Members: []*Member{m}}).HealthTable(&out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 140 || strings.Contains(line, "\x1b") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}
