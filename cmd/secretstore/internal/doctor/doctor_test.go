package doctor

import (
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/filetrust"
	"secretstore/seal"
	"secretstore/store/zk"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// zookeeper is the storage of a configuration on these servers.
func zookeeper(servers ...string) config.Config {
	return config.Config{Storage: config.Storage{Kind: config.ZooKeeper, Servers: servers, Root: "/dcos/secrets"}}
}

func onZooKeeper(z ZooKeeper) Facts {
	return Facts{Config: zookeeper("127.0.0.1:2181"), ZooKeeper: &z}
}

func process(change func(*Process)) Facts {
	p := Process{Server: "http://one", HostReport: wire.HostReport{Swap: wire.SwapNone, Time: now}}
	change(&p)
	return Facts{Processes: []Process{p}}
}

func file(kind Kind, mode fs.FileMode) Facts {
	return Facts{Files: []File{{Option: "an-option", Path: "/a file", Kind: kind, Mode: mode}}}
}

// TestEachWeaknessIsFound has a row for each finding, with what it is next to.
func TestEachWeaknessIsFound(t *testing.T) {
	closed := zk.Inspection{Complete: true, Looked: 9}
	with := func(f Facts, change func(*Facts)) Facts { change(&f); return f }
	for _, tt := range []struct {
		name  string
		facts Facts
		want  string // SEVERITY CHECK, of each finding
		text  string // in one of them
	}{
		{"nothing", Facts{}, "", ""},
		{"a development set-up", Facts{Config: config.Config{Dev: true}}, "warning dev", ".secretstore-dev"},

		{"plain HTTP on loopback", Facts{PlainHTTP: "127.0.0.1:1337"}, "", ""},
		{"plain HTTP on the other loopback", Facts{PlainHTTP: "[::1]:1337"}, "", ""},
		{"plain HTTP everywhere", Facts{PlainHTTP: "0.0.0.0:1337"}, "serious tls", "--tls-listen"},
		{"plain HTTP on every address", Facts{PlainHTTP: ":1337"}, "serious tls", ""},
		{"plain HTTP on an address", Facts{PlainHTTP: "192.0.2.1:1337"}, "serious tls", "192.0.2.1:1337"},
		{"plain HTTP that redirects only", Facts{PlainHTTP: "0.0.0.0:1337", Config: config.Config{SecurityMode: seal.ModeStrict}}, "", ""},

		{"a process that is in order", process(func(*Process) {}), "", ""},
		{"dumpable", process(func(p *Process) { p.Dumpable = true }), "serious dumpable", "prctl"},
		{"a core limit", process(func(p *Process) { p.CoreLimit = 1 }), "warning core-limit", "LimitCORE=0"},
		{"no core limit", process(func(p *Process) { p.CoreLimit = -1 }), "warning core-limit", ""},
		{"encrypted swap", process(func(p *Process) { p.Swap, p.Swapped = wire.SwapEncrypted, 4096 }), "", ""},
		{"plain swap", process(func(p *Process) { p.Swap = wire.SwapPlain }), "warning swap", "MemorySwapMax=0"},
		{"keys in swap", process(func(p *Process) { p.Swap, p.Swapped = wire.SwapPlain, 4096 }), "serious swap", "4 KiB"},
		{"swap that is not known", process(func(p *Process) { p.Swap = wire.SwapUnknown }), "unknown swap", ""},
		{"a word for swap of a later release", process(func(p *Process) { p.Swap = "?" }), "unknown swap", ""},
		{"plain swap of the machine", Facts{Machine: &Machine{Swap: wire.SwapPlain}}, "warning swap", "this machine"},
		{"no swap of the machine", Facts{Machine: &Machine{Swap: wire.SwapNone}}, "", ""},

		{"closed znodes", onZooKeeper(ZooKeeper{Tree: closed}), "", ""},
		{"open znodes", onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Looked: 9, Readable: zk.Exposed{Count: 7, Examples: []string{"/dcos/secrets/x"}}}}),
			"warning zookeeper-access", `7 of 9 znodes ("/dcos/secrets/x", …)`},
		{"writable znodes", onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Looked: 9, Writable: zk.Exposed{Count: 1, Examples: []string{"/dcos/secrets"}}}}),
			"serious zookeeper-access", "--zk-auth-file"},
		{"a readable bootstrap key", onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Record: true, RecordReadable: true, Readable: zk.Exposed{Count: 1, Examples: []string{"x"}}}}),
			"serious bootstrap-key, serious zookeeper-access", "everybody who reaches ZooKeeper can read the bootstrap key"},
		{"a bootstrap key", onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Record: true}}), "warning bootstrap-key", "secretstore reinit"},
		{"too many znodes", onZooKeeper(ZooKeeper{Tree: zk.Inspection{Looked: 100000}}), "unknown zookeeper-access", "first 100000"},
		{"no ZooKeeper that answers", onZooKeeper(ZooKeeper{}), "", ""},
		{"the server's own look", onZooKeeper(ZooKeeper{Partial: true, Tree: zk.Inspection{Looked: 2}}), "", ""},
		{"writable, with a user", with(onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Writable: zk.Exposed{Count: 1}}}), func(f *Facts) { f.Config.ZKAuthFile = "f" }),
			"serious zookeeper-access", "setAcl -R /dcos/secrets auth::cdrwa"},
		{"a token key for all to read", with(onZooKeeper(ZooKeeper{Tree: closed, Znode: zk.Exposure{Readable: "others can read it"}}), func(f *Facts) { f.Config.AuthSecretZnode = "/key" }),
			"serious zookeeper-access", "superuser's token"},
		{"a token key for all to change", with(onZooKeeper(ZooKeeper{Tree: closed, Znode: zk.Exposure{Writable: "others can change it"}}), func(f *Facts) { f.Config.AuthSecretZnode = "/key" }),
			"serious zookeeper-access", "setAcl /key auth::cdrwa"},

		{"super:secret", onZooKeeper(ZooKeeper{Tree: closed, Members: []Member{{Server: "zk1:2181", Verdict: zk.SuperuserAccepted}, {Server: "zk2:2181", Verdict: zk.SuperuserRefused}}}),
			"serious zookeeper-superuser", "superDigest"},
		{"no super:secret", onZooKeeper(ZooKeeper{Tree: closed, Members: []Member{{Verdict: zk.SuperuserRefused}}}), "", ""},
		{"an old member", onZooKeeper(ZooKeeper{Tree: closed, Members: []Member{{Verdict: zk.SuperuserUnknown}}}), "unknown zookeeper-superuser", "older than 3.7"},
		{"a member that is down", onZooKeeper(ZooKeeper{Tree: closed, Members: []Member{{Error: "refused"}}}), "unknown zookeeper-superuser", "refused"},

		{"ZooKeeper on this machine", Facts{Config: zookeeper("localhost:2181")}, "", ""},
		{"ZooKeeper elsewhere", Facts{Config: zookeeper("127.0.0.1:2181", "zk2:2181")}, "warning zookeeper-plain", "secureClientPort"},
		{"a password for ZooKeeper elsewhere", with(Facts{Config: zookeeper("zk1:2181")}, func(f *Facts) { f.Config.ZKAuthFile = "f" }), "warning zookeeper-plain", "password of --zk-auth-file"},
		{"ZooKeeper elsewhere, with TLS", with(Facts{Config: zookeeper("zk1:2181")}, func(f *Facts) { f.Config.ZKTLSCA = "ca" }), "", ""},
		{"ZooKeeper elsewhere, with the key of tokens", with(Facts{Config: zookeeper("zk1:2181")}, func(f *Facts) { f.Config.AuthSecretZnode = "/key" }), "serious zookeeper-plain", ""},
		{"ZooKeeper elsewhere, with a bootstrap key", with(Facts{Config: zookeeper("zk1:2181")}, func(f *Facts) { f.BootstrapKeyHeld = true }),
			"serious zookeeper-plain, warning bootstrap-key", ""},

		{"a bootstrap key in a file", Facts{Files: []File{{Option: bootstrapOption, Path: "/k", Mode: 0o600}}}, "warning bootstrap-key", "/k"},
		{"a bootstrap key for all to read", Facts{Files: []File{{Option: bootstrapOption, Path: "/k", Mode: 0o604}}}, "serious bootstrap-key, serious files", "chmod 600 /k"},
		{"a server's bootstrap key", Facts{BootstrapKeyHeld: true}, "warning bootstrap-key", ""},

		{"files in order", file(SecretFile, 0o600), "", ""},
		{"a secret for all to read", file(SecretFile, 0o604), "serious files", "chmod 600 '/a file'"},
		{"a secret for a group to read", file(SecretFile, 0o640), "warning files", ""},
		{"a secret for a group to write", file(SecretFile, 0o620), "warning files", "chmod g-w"},
		{"a policy for all to read", file(DecidingFile, 0o644), "", ""},
		{"a policy for a group to write", file(DecidingFile, 0o664), "warning files", "decides who gets in"},
		{"data for all to read", file(DataFile, 0o644), "warning files", ""},
		{"a folder for a group to write", file(DataFolder, 0o770|fs.ModeDir), "warning files", "what the server keeps"},
		{"a file of another", Facts{Files: []File{{Path: "/f", Kind: DecidingFile, Mode: 0o600, Untrusted: &filetrust.Untrusted{Path: "/f", Why: "it belongs to user eve", Command: "chown root /f"}}}},
			"serious files", "chown root /f"},
		{"a link of another", Facts{Files: []File{{Option: "policy-file", Path: "/f", Kind: DecidingFile, Untrusted: &filetrust.Untrusted{Path: "/f", Why: "it is a symbolic link"}}}},
			"serious files", "--policy-file"},

		{"room", Facts{Disks: []Disk{{Free: 2 << 30}}}, "", ""},
		{"little room", Facts{Disks: []Disk{{Free: 1<<30 - 1}}}, "warning disk", ""},
		{"no room", Facts{Disks: []Disk{{Free: 64<<20 - 1}}}, "serious disk", "63 MiB"},
		{"no room for a copy", Facts{Disks: []Disk{{Free: 2 << 30, Copy: 2 << 30}}}, "warning disk", "rotation"},
		{"a full disk, says a server", Facts{Faults: []Fault{{"http://one", "the disk is full"}}}, "serious disk", "the disk is full"},

		{"a certificate", Facts{Now: now, Certificates: []Certificate{{Ends: now.Add(31 * 24 * time.Hour)}}}, "", ""},
		{"a certificate that ends", Facts{Now: now, Certificates: []Certificate{{Ends: now.Add(29 * 24 * time.Hour)}}}, "warning expiry", "2030-01-30"},
		{"a certificate that ends soon", Facts{Now: now, Certificates: []Certificate{{Option: "zk-tls-ca", Ends: now.Add(6 * 24 * time.Hour)}}}, "serious expiry", "--zk-tls-ca expires"},
		{"a certificate that has ended", Facts{Now: now, Certificates: []Certificate{{Ends: now}}}, "serious expiry", "expired on"},
		{"a holder without an end", Facts{Now: now, Holders: []Holder{{}}}, "", ""},
		{"a holder whose key ends", Facts{Now: now, Holders: []Holder{{"abc", now.Add(time.Hour)}}}, "serious expiry", "gpg --quick-set-expire"},

		{"something that is not known", Facts{Gaps: []Gap{{CheckDisk, "/x", "permission denied", "be the server's user"}}}, "unknown disk", "could not be checked: permission denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := Examine(tt.facts)
			var got, text []string
			for _, f := range all {
				got = append(got, string(f.Severity)+" "+string(f.Check))
				text = append(text, f.Subject+": "+f.Text+": "+f.Fix)
				if f.Text == "" || f.Fix == "" {
					t.Errorf("%+v does not say what to do", f)
				}
			}
			if strings.Join(got, ", ") != tt.want || !strings.Contains(strings.Join(text, "\n"), tt.text) {
				t.Errorf("%s\nwant %s with %q in\n%s", strings.Join(got, ", "), tt.want, tt.text, strings.Join(text, "\n"))
			}
		})
	}
}

func TestClocks(t *testing.T) {
	at := func(seconds ...int) (f Facts) {
		for i, s := range seconds {
			sent := now.Add(time.Duration(i) * time.Hour) // asked one after the other
			p := Process{Server: string(rune('a' + i)), HostReport: wire.HostReport{Swap: wire.SwapNone, Time: now}}
			p.Offset = CompareClock(sent, sent.Add(time.Second), sent.Add(time.Duration(s)*time.Second))
			f.Processes = append(f.Processes, p)
		}
		return f
	}
	storage := func(ahead float64) Facts {
		return Facts{Processes: []Process{{Self: true, HostReport: wire.HostReport{Swap: wire.SwapNone, StorageClock: &wire.ClockDifference{Ahead: ahead}}}}}
	}
	written := func(after time.Duration) Facts {
		return onZooKeeper(ZooKeeper{Tree: zk.Inspection{Complete: true, Changed: now.Add(after)}, Read: now})
	}
	for _, tt := range []struct {
		name  string
		facts Facts
		want  string
	}{
		{"one that agrees", at(0), ""},
		{"within the time of the request", at(5), ""},
		{"ahead", at(6), "warning"},
		{"behind", at(-5), "warning"},
		{"far ahead", at(3600), "serious"},
		{"far behind", at(-30), "serious"},
		{"one of three", at(0, 0, 100), "serious serious serious"}, // this machine and both others
		{"two that agree, and not with this machine", at(100, 100), "serious serious"},
		{"two that are each a little off", at(-4, 5), "warning"}, // from each other
		{"as ZooKeeper", storage(4), ""},
		{"not as ZooKeeper", storage(-5), "warning"},
		{"far from ZooKeeper", storage(30), "serious"},
		{"a difference that a server invents", storage(math.MaxFloat64), "serious"},
		{"ZooKeeper wrote a while ago", written(-time.Hour), ""},
		{"ZooKeeper wrote in the future", written(time.Minute), "serious"},
	} {
		var got []string
		for _, f := range Examine(tt.facts) {
			if f.Check != CheckClock {
				t.Errorf("%s: %+v", tt.name, f)
			}
			got = append(got, string(f.Severity))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, year := range []int{-1 << 20, 1, 9999, 1 << 30} {
		o := CompareClock(now, now, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		if between(o, Offset{}) < wrong {
			t.Errorf("the year %d: %+v", year, o)
		}
	}
}

// TestTheWorstComesFirst, whatever order the checks are made in.
func TestTheWorstComesFirst(t *testing.T) {
	all := Examine(Facts{
		Gaps: []Gap{{CheckTLS, "", "x", "x"}}, BootstrapKeyHeld: true, PlainHTTP: "0.0.0.0:1",
		Disks: []Disk{{Free: 1}},
	})
	var got []string
	for _, f := range all {
		got = append(got, string(f.Severity))
	}
	if strings.Join(got, " ") != "serious serious warning unknown" || Count(all, Serious) != 2 || Count(all, Unknown) != 1 {
		t.Errorf("%q", got)
	}
}

// TestHostileTextIsMadePrintable: names of znodes, errors of members and texts of
// servers may be those of an attacker.
func TestHostileTextIsMadePrintable(t *testing.T) {
	for _, hostile := range []string{
		"\x1b[2J\x1b]0;title\a", "line\nbreak\r", "\u202egnitarcs", "\u0085\u2028\u2029", "\xff\xfe", strings.Repeat("x", 1<<20), "\u200bzero\ufeff",
		strings.Repeat("é", 4000),
	} {
		f := onZooKeeper(ZooKeeper{
			Tree:    zk.Inspection{Complete: true, Readable: zk.Exposed{Count: 1, Examples: []string{hostile}}, Writable: zk.Exposed{Count: 9, Examples: []string{hostile, hostile}}},
			Members: []Member{{Server: "zk", Error: hostile}},
		})
		f.Config.Storage.Root = hostile
		f.Gaps = []Gap{{CheckDisk, hostile, hostile, hostile}}
		f.Faults = []Fault{{hostile, hostile}}
		f.Holders = []Holder{{hostile, now}}
		f.Processes = []Process{{Server: hostile, HostReport: wire.HostReport{Swap: hostile, Dumpable: true, CoreLimit: -5}}}
		f.Now = now
		all := Examine(f)
		if len(all) < 8 {
			t.Fatalf("%d findings", len(all))
		}
		for _, finding := range all {
			for _, text := range []string{finding.Subject, finding.Text, finding.Fix} {
				if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > maxText+10 {
					t.Errorf("%d bytes: %.100q", len(text), text)
				}
			}
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		out := printable(s)
		if strings.ContainsFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }) || len(out) > maxText+10 {
			t.Errorf("%q", out)
		}
	})
}
