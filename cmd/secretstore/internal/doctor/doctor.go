// Package doctor finds what is weak in the set-up of a server. It has two halves.
// Facts are gathered, in one file for each source: this process, the files that the
// configuration names, ZooKeeper, running servers. Checks decide about them; they are
// pure, and there is one file of them for each subject.
//
// It changes nothing, and knows no secret: of files with keys it reads only owner and
// mode. What servers and ZooKeeper say may have been written by an attacker, so
// all text of a finding is made printable in the end, and no command contains any of
// it.
package doctor

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"secretstore/cmd/secretstore/internal/config"
)

// Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	// Serious: somebody may read secrets or become superuser, or the service is
	// about to fail.
	Serious Severity = "serious"
	// Warning: one layer of protection is missing, or something ends soon.
	Warning Severity = "warning"
	// Unknown: it could not be checked.
	Unknown Severity = "unknown"
)

// Check is the name of a check.
type Check string

// The checks.
const (
	CheckSwap         Check = "swap"
	CheckCore         Check = "core-limit"
	CheckDumpable     Check = "dumpable"
	CheckTLS          Check = "tls"
	CheckZKAccess     Check = "zookeeper-access"
	CheckZKSuperuser  Check = "zookeeper-superuser"
	CheckZKPlain      Check = "zookeeper-plain"
	CheckBootstrapKey Check = "bootstrap-key"
	CheckClock        Check = "clock"
	CheckExpiry       Check = "expiry"
	CheckDisk         Check = "disk"
	CheckFiles        Check = "files"
	CheckDev          Check = "dev"
	// CheckServers is for what only running servers know.
	CheckServers Check = "servers"
)

// Finding is one weakness, or something that could not be checked.
type Finding struct {
	Check    Check    `json:"check"`
	Severity Severity `json:"severity"`
	// Subject is what it is about: a file, a server, an address; "" for the whole.
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	// Fix is the command or the setting that mends it, and how.
	Fix string `json:"fix"`
}

// Facts are everything that the checks decide about. The zero value has nothing to
// find.
type Facts struct {
	Now    time.Time
	Config config.Config // of the server
	// PlainHTTP is the address of plain HTTP; "" for none.
	PlainHTTP    string
	Processes    []Process // running servers
	Machine      *Machine  // this machine; nil if a server on it speaks for it
	Files        []File
	Certificates []Certificate
	Holders      []Holder
	Disks        []Disk
	ZooKeeper    *ZooKeeper
	// BootstrapKeyHeld: a server says that the storage holds a key that unseals.
	BootstrapKeyHeld bool
	// Faults are texts of servers about full disks.
	Faults []Fault
	// Gaps are facts that could not be gathered.
	Gaps []Gap
}

// Fault is what a server says about its disk.
type Fault struct{ Server, Text string }

// Gap is something that could not be found out.
type Gap struct {
	Check   Check
	Subject string
	Why     string
	Fix     string // what to do to find it out
}

// checks are all checks but those that could not be made.
var checks = []func(*Facts) []Finding{
	checkDev, checkListener,
	checkBootstrapKey, checkZooKeeperAccess, checkZooKeeperSuperuser, checkZooKeeperPlain,
	checkFiles, checkDumpable, checkCore, checkSwap, checkClock, checkExpiry, checkDisk,
}

// Examine returns all findings, the worst first.
func Examine(f Facts) []Finding {
	all := []Finding{}
	for _, check := range checks {
		all = append(all, check(&f)...)
	}
	for _, g := range f.Gaps {
		all = append(all, Finding{g.Check, Unknown, g.Subject, "could not be checked: " + g.Why, g.Fix})
	}
	for i := range all {
		all[i].Subject, all[i].Text, all[i].Fix = printable(all[i].Subject), printable(all[i].Text), printable(all[i].Fix)
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	return all
}

func rank(s Severity) int { return slices.Index([]Severity{Serious, Warning, Unknown}, s) }

// Count returns how many findings have the severity.
func Count(all []Finding, s Severity) (n int) {
	for _, f := range all {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// maxText bounds a text of a finding in bytes.
const maxText = 600

// printable replaces what could drive or mislead a terminal: control characters,
// line breaks, marks that reverse the direction of text, and what is not UTF-8. It
// cuts what is too long.
func printable(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// opensItself reports whether the storage holds what opens it, or what makes a
// superuser: then its access control is all that protects the secrets.
func (f *Facts) opensItself() bool { return f.bootstrapKey() || f.Config.AuthSecretZnode != "" }
