package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inNewNetwork returns a command in a network namespace of its own, which also
// users other than root can make.
func inNewNetwork(args ...string) *exec.Cmd {
	args = append([]string{"--net"}, args...)
	if os.Geteuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	return exec.Command("unshare", args...)
}

// TestServerListensOnLoopbackOnly asks the kernel where a server listens that was
// given no address, in a network without other servers.
func TestServerListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	cmd := inNewNetwork("sh", "-c", `ip link set lo up
		secretstore server --storage memory: --bootstrap=false &
		read -r listens; cat /proc/net/tcp /proc/net/tcp6; kill $!; wait $!`)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "SECRETSTORE_LISTEN=", "SECRETSTORE_TLS_LISTEN=")
	stdin, inErr := cmd.StdinPipe()
	log, logErr := cmd.StderrPipe()
	var table bytes.Buffer
	cmd.Stdout = &table
	if err := errors.Join(inErr, logErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	url, text := untilListening(log)
	stdin.Close()
	rest, _ := io.ReadAll(log)
	if err := cmd.Wait(); err != nil || url != "http://127.0.0.1:1337" {
		t.Fatalf("it listens at %q; %v\n%s%s", url, err, text, rest)
	}
	// A line has its number, the local address, the remote one, and the state: 0A
	// is listening. Addresses are hexadecimal, of the byte order of the machine.
	listening := regexp.MustCompile(`(?m)^ *\d+: ([0-9A-F:]+) [0-9A-F:]+ 0A `).FindAllStringSubmatch(table.String(), -1)
	if len(listening) != 1 || listening[0][1] != "0100007F:0539" {
		t.Errorf("it listens on %q\n%s", listening, table.String())
	}
}

// TestDocumentedFirewallRulesAreValid has nft read the rules of the hardening
// guide, in a network namespace of its own; -c loads nothing.
func TestDocumentedFirewallRulesAreValid(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/hardening.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```nft\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of rules", len(blocks))
	}
	for i, block := range blocks {
		file := filepath.Join(t.TempDir(), "rules")
		if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := inNewNetwork("/usr/sbin/nft", "-c", "-f", file).CombinedOutput(); err != nil {
			t.Errorf("block %d: %v (scripts/test-deps installs nft)\n%s", i+1, err, out)
		}
		if !strings.Contains(block[1], "policy drop;") {
			t.Errorf("block %d permits what it does not name", i+1)
		}
	}
}
