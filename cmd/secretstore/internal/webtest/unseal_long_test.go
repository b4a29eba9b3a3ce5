//go:build long && gpg

package webtest

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// holder is somebody with their own key, in a keyring of gpg.
type holder struct{ home, key string }

// run runs a command line as the holder would, and returns what it prints.
func (h holder) run(t testing.TB, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+h.home)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

func newHolder(t testing.TB, name string) holder {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "gpg") // short, for the socket of the agent lies in it
	if err != nil {
		t.Fatal(err)
	}
	h := holder{home: home}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = stop.Run() // there may be no agent
		_ = os.RemoveAll(home)
	})
	h.run(t, "gpg --batch --quiet --passphrase '' --quick-gen-key "+name+"@example.com future-default default never")
	h.key = base64.StdEncoding.EncodeToString([]byte(h.run(t, "gpg --export "+name+"@example.com")))
	return h
}

// TestHoldersUnsealWithTheCommandOnThePage: each runs what the page says, and enters
// what gpg prints.
func TestHoldersUnsealWithTheCommandOnThePage(t *testing.T) {
	holders := []holder{newHolder(t, "alice"), newHolder(t, "bob"), newHolder(t, "carol")}
	site := Start(t, "--bootstrap=false")
	root := site.As(t, "root")
	if _, err := root.Init(t.Context(), wire.InitRequest{Shares: 3, Threshold: 2, PGPKeys: []string{holders[0].key, holders[1].key, holders[2].key}}); err != nil {
		t.Fatal(err)
	}
	for name, look := range map[string]Look{"script": {}, "no script": {Width: 360, Dark: true, NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.allowClipboard()
			tab.SignIn("root")
			if got := tab.Text("#bar"); !strings.Contains(got, "sealed") {
				t.Errorf("the bar says %q", got)
			}
			tab.Follow("nav a[href=unseal]")
			entered := func(n string) {
				t.Helper()
				if got := tab.Text("main"); !strings.Contains(got, n+" of 2 shares") {
					t.Fatalf("instead of %s shares: %s", n, got)
				}
			}
			enter := func(who int) {
				t.Helper()
				commands := Eval[[]string](tab, `[...document.querySelectorAll("pre.share")].map(e => e.innerText)`)
				if len(commands) != 3 {
					t.Fatalf("the commands are %q", commands)
				}
				if !look.NoScript {
					commands[who] = tab.copied(fmt.Sprintf("button[data-copy-text=command-%d]", who))
				}
				share := strings.TrimSpace(holders[who].run(t, commands[who]))
				tab.Type("[name=share]", share)
				tab.Follow("form:has([name=share]) button")
				if strings.Contains(tab.HTML(), share) {
					t.Error("the share is in the page")
				}
			}
			entered("0")
			enter(2)
			entered("1")
			enter(2) // the same counts once
			entered("1")
			tab.Follow("button[value=reset]")
			entered("0")
			enter(0)
			entered("1")
			enter(2)
			if got := tab.Text("body"); !strings.Contains(got, "The store is unsealed") || strings.Contains(got, "is sealed") {
				t.Fatalf("after two shares: %s, %s", tab.Location(), got)
			}
			awaitReady(t, root)
			put(t, root, "a/"+strings.ReplaceAll(name, " ", "-"), canary)
			if _, err := root.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
