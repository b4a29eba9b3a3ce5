package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func stranger(remote string) *Entry {
	return &Entry{Time: time.Unix(1, 0), RequestID: "x", Outcome: Denied, Status: 401, Remote: remote, Endpoint: "secret.read",
		Resource: "dcos:secrets:default:/" + strings.Repeat("a", 1000), Service: "/" + strings.Repeat("s", 1000)}
}

// TestStrangersCannotFillTheDisk floods the log from one address, and then from
// thousands: few lines are written, all short, and together they count every
// request.
func TestStrangersCannotFillTheDisk(t *testing.T) {
	for name, remote := range map[string]func(int) string{
		"one address": func(int) string { return "192.0.2.1" },
		"many":        func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) },
		"no address":  func(int) string { return "pipe" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.log")
				l := mustOpen(t, path)
				const each, seconds = 3000, 5
				for range seconds {
					for i := range each {
						if err := l.Append(stranger(remote(i))); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Second)
					synctest.Wait() // until the counts are written
				}
				if err := l.Append(entry("honest")); err != nil {
					t.Fatal(err)
				}
				counted := 0.0
				all := lines(t, path)
				for _, line := range all {
					switch n, summary := line["left_out"].(float64); {
					case summary:
						counted += n
					case line["uid"] == "":
						counted++
					}
				}
				if counted != each*seconds {
					t.Errorf("the log counts %v requests, want %d", counted, each*seconds)
				}
				if most := overallBurst + seconds*(overallRate+maxCounted+1) + 1; len(all) > most {
					t.Errorf("%d lines for %d requests, want at most %d", len(all), each*seconds, most)
				}
				raw, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(raw)) {
					if len(line) > 512 {
						t.Fatalf("%d bytes for a stranger: %s", len(line), line)
					}
				}
				if all[len(all)-1]["request_id"] != "honest" {
					t.Error("the request with a principal has no line")
				}
			})
		})
	}
}

// TestRequestsWithAPrincipalAllHaveALine, however many there are.
func TestRequestsWithAPrincipalAllHaveALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	for i := range 2000 {
		if err := l.Append(entry(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(lines(t, path)); n != 2000 {
		t.Errorf("%d lines, want 2000", n)
	}
}

// TestCountsAreWrittenAtTheEnd, though their second is not over.
func TestCountsAreWrittenAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	const total = addressBurst * 3
	for range total {
		if err := l.Append(stranger("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	counted := 0.0
	for _, line := range lines(t, path) {
		n, summary := line["left_out"].(float64)
		if !summary {
			n = 1
		} else if line["remote"] != "192.0.2.1" || line["outcome"] != "denied" {
			t.Errorf("%v", line)
		}
		counted += n
	}
	if counted != total {
		t.Errorf("the log counts %v requests, want %d", counted, total)
	}
}
