//go:build gpg

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"secretstore/internal/openapitest"
)

// TestDocumentedCommandsWork types the command blocks of every page, in order,
// in its own folder. testdata/docs/PAGE.sh prepares the folder, and may
// define functions that stand for what a page assumes: another machine, a
// program of the user. A page may not have commands without such a file, nor
// the other way round.
func TestDocumentedCommandsWork(t *testing.T) {
	t.Parallel()
	runPages(t, ".sh", nil)
}

// commandPages returns the pages with command blocks, by name without .md.
func commandPages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	pages := make(map[string]string)
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if commandBlock.Match(text) {
			pages[strings.TrimSuffix(filepath.Base(file), ".md")] = string(text)
		}
	}
	return pages
}

// runPages runs the pages that are prepared by a file with the suffix.
func runPages(t *testing.T, suffix string, environment []string) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := filepath.Glob(filepath.Join(root, "testdata/docs/*"))
	if err != nil {
		t.Fatal(err)
	}
	pages := commandPages(t)
	for _, file := range prepared {
		page, rest, _ := strings.Cut(filepath.Base(file), ".")
		if page == "lib" {
			continue
		}
		text, ok := pages[page]
		if !ok {
			t.Errorf("there are no commands for %s", file)
		}
		delete(pages, page)
		if "."+rest == suffix {
			t.Run(page, func(t *testing.T) {
				t.Parallel()
				runPage(t, root, file, text, environment)
			})
		}
	}
	for page := range pages {
		t.Errorf("the commands of %s.md are never run: add testdata/docs/%[1]s.sh", page)
	}
}

var (
	commandBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	jsonBlock    = regexp.MustCompile("(?ms)^```json\n(.*?)^```$")
	wantedAnswer = regexp.MustCompile(`^(.*?)\s+# ([1-5]\d\d)(: .*)?$`)
	wantedStatus = regexp.MustCompile(`^(.*?)\s+# .*exit status (\d+)$`)
)

// runPage runs the blocks of one page with bash, which stops at the first
// command that fails. A line that ends with the comment "exit status N" has to.
// After a request, the comment "# 204" is the HTTP status of the answer.
// The page's JSON blocks are in the files 1.json, 2.json, and so on.
func runPage(t *testing.T, root, preparation, page string, environment []string) {
	address := freeAddress(t)
	memory, err := os.MkdirTemp("/dev/shm", "docs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	typed := address
	if !strings.Contains(page, "secretstore server") { // all on the page are clients
		typed = describedAt(t, address)
	}
	here := strings.NewReplacer("127.0.0.1:1337", typed, "https://secrets.example.com:1338", "http://"+typed,
		"/dev/shm/", memory+"/", "/run/", memory+"/")
	var script strings.Builder
	fmt.Fprintf(&script, "ADDRESS=%s ROOT=%s\n. %s/testdata/docs/lib.sh\n. %s\n", typed, root, root, preparation)
	for _, block := range commandBlock.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(here.Replace(block[1])) {
			if m := wantedStatus.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				line = fmt.Sprintf("wants %s %s\n", m[2], m[1])
			} else if m := wantedAnswer.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
				line = fmt.Sprintf("%s --answers %s\n", m[1], m[2])
			}
			script.WriteString(line)
		}
		script.WriteString("after_block\n")
	}
	dir := t.TempDir()
	home, err := os.MkdirTemp("/tmp", "docs") // short, for the sockets of gpg
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range jsonBlock.FindAllStringSubmatch(page, -1) {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i+1)), []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(home, "page.sh")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", file)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "HOME="+home, "GNUPGHOME="+home+"/.gnupg", "GORACE=atexit_sleep_ms=0",
		"SECRETSTORE_LISTEN="+address, "SECRETSTORE_SERVER=http://"+typed, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_RUNTIME_DIR="+memory), environment...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The whole group, so that no server survives.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home+"/.gnupg")
		stop.Run() // there may be no agent
		os.RemoveAll(home)
	})
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, output.String())
	}
}

// describedAt returns an address that leads to another one. All exchanges on the
// way are checked against the description of the API.
func describedAt(t *testing.T, address string) string {
	t.Helper()
	described, err := openapitest.Load("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := openapitest.Listen(socket)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		seen.Forward(address)
	}()
	t.Cleanup(func() {
		seen.Close()
		<-ended
		for _, problem := range seen.Check(described) {
			t.Error(problem)
		}
	})
	return socket.Addr().String()
}
