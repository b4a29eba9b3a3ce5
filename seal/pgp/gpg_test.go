//go:build gpg

package pgp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// gnupg runs gpg with a temporary GNUPGHOME.
type gnupg struct {
	t    *testing.T
	home string
}

func newGnupg(t *testing.T) *gnupg {
	t.Helper()
	// Not t.TempDir: the agent's socket path must stay below 108 bytes.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	g := &gnupg{t: t, home: home}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = stop.Run()
		os.RemoveAll(home)
	})
	return g
}

// try runs gpg and returns what it printed.
func (g *gnupg) try(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("gpg", append([]string{"--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+g.home)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, errors.New(strings.Join(args, " ") + ": " + err.Error() + "\n" + errs.String())
	}
	return out.Bytes(), nil
}

// run is try for commands that must succeed.
func (g *gnupg) run(args ...string) []byte {
	g.t.Helper()
	out, err := g.try(nil, args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

func (g *gnupg) fingerprint(uid string) string {
	g.t.Helper()
	for _, line := range strings.Split(string(g.run("--with-colons", "--list-keys", uid)), "\n") {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			return fields[9]
		}
	}
	g.t.Fatal("no fingerprint")
	return ""
}

// fakedTime is when keys are made that have since expired.
const fakedTime = "20200101T000000!"

// keyKinds returns the kinds of key that holders have.
func keyKinds() []keyKind {
	kinds := []keyKind{
		{name: "default", sq: true, make: func(g *gnupg, uid string) { g.run("--quick-gen-key", uid, "default", "default", "never") }},
		{name: "future-default", sq: true, make: func(g *gnupg, uid string) { g.run("--quick-gen-key", uid, "future-default", "default", "never") }},
		{name: "primary key encrypts", sq: true, make: func(g *gnupg, uid string) { g.run("--quick-gen-key", uid, "rsa2048", "sign,encr", "never") }},
		{name: "ed25519+cv25519", sq: true, make: func(g *gnupg, uid string) { g.withSubkey(uid, "ed25519", "cv25519") }},
		{name: "expired subkey, then a fresh one", sq: true, make: func(g *gnupg, uid string) {
			g.run("--faked-system-time", fakedTime, "--quick-gen-key", uid, "ed25519", "sign", "never")
			g.run("--faked-system-time", fakedTime, "--quick-add-key", g.fingerprint(uid), "rsa2048", "encr", "1d")
			g.run("--quick-add-key", g.fingerprint(uid), "cv25519", "encr", "never")
		}},
		{name: "fresh subkey, then an expired one", sq: true, make: func(g *gnupg, uid string) {
			g.run("--faked-system-time", fakedTime, "--quick-gen-key", uid, "ed25519", "sign", "never")
			g.run("--faked-system-time", fakedTime, "--quick-add-key", g.fingerprint(uid), "cv25519", "encr", "never")
			g.run("--faked-system-time", "20200201T000000!", "--quick-add-key", g.fingerprint(uid), "rsa2048", "encr", "1d")
		}},
	}
	for _, algorithm := range []string{
		"rsa2048", "rsa3072", "nistp256", "nistp384", "nistp521",
		"brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1",
	} {
		kinds = append(kinds, kindOf(algorithm))
	}
	return kinds
}

func kindOf(algorithm string) keyKind {
	return keyKind{
		name: algorithm,
		sq:   !strings.HasPrefix(algorithm, "brainpool"),
		make: func(g *gnupg, uid string) { g.withSubkey(uid, algorithm, algorithm) },
	}
}

type keyKind struct {
	name string
	sq   bool // Sequoia's sq can decrypt with it; otherwise rnp does
	make func(g *gnupg, uid string)
}

var testShare = hex.EncodeToString(bytes.Repeat([]byte{0xA5}, 32))

// forms returns one public key in every form that ParsePublicKey accepts.
func forms(binary, armored []byte) map[string]string {
	b64 := base64.StdEncoding.EncodeToString(binary)
	return map[string]string{
		"binary":                       string(binary),
		"armor":                        string(armored),
		"armor with CRLF":              "\r\n" + strings.ReplaceAll(string(armored), "\n", "\r\n") + "\r\n",
		"base64 with a trailing space": b64 + " ",
		"wrapped base64":               wrapped(b64, 64),
		"base64 of armor":              base64.StdEncoding.EncodeToString(armored),
		"armor in a mail":              "From: alice\r\n\r\nHere is my key:\n" + string(armored) + "\nRegards\n",
		"base64 of a mail":             base64.StdEncoding.EncodeToString([]byte("My key:\n\n" + string(armored))),
		"armor with a byte order mark": "\ufeff" + string(armored),
		"base64 of the same":           base64.StdEncoding.EncodeToString([]byte("\ufeff" + string(armored))),
		"base64 without padding":       strings.TrimRight(b64, "="),
	}
}

// wrapForms parses every form of a key and wraps the share to each.
func wrapForms(t *testing.T, fingerprint string, binary, armored []byte) (messages [][]byte) {
	t.Helper()
	for form, text := range forms(binary, armored) {
		key, err := ParsePublicKey(text, time.Now())
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if key.Fingerprint() != strings.ToLower(fingerprint) {
			t.Errorf("%s: fingerprint %s, want %s", form, key.Fingerprint(), fingerprint)
		}
		message, err := key.Wrap([]byte(testShare))
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		messages = append(messages, message)
	}
	return messages
}

// TestGpgAndASecondImplementationOpenMessages: for every kind of key, in every
// form, the real gpg prints the share, and so does a second implementation with
// the secret key that gpg exports.
func TestGpgAndASecondImplementationOpenMessages(t *testing.T) {
	t.Parallel()
	openedByBoth(t, keyKinds())
}

func openedByBoth(t *testing.T, kinds []keyKind) {
	g := newGnupg(t)
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			g.t = t
			uid := fmt.Sprintf("holder%02d@example.org", i)
			kind.make(g, uid)
			messages := wrapForms(t, g.fingerprint(uid), g.run("--export", uid), g.run("--armor", "--export", uid))
			for _, message := range messages {
				if plain, err := g.try(message, "--decrypt"); err != nil || string(plain) != testShare {
					t.Errorf("gpg printed %q, %v", plain, err)
				}
			}
			listing, err := g.try(messages[0], "--verbose", "--list-packets")
			if err != nil || !strings.Contains(string(listing), "mdc_method: 2") {
				t.Errorf("not a SEIPDv1 packet: %v\n%s", err, listing)
			}
			secondOpens := rnpOpens
			if kind.sq {
				secondOpens = sqOpens
			}
			secondOpens(t, g.run("--export-secret-keys", uid), messages[0])
		})
	}
}

func (g *gnupg) withSubkey(uid, primary, sub string) {
	g.t.Helper()
	g.run("--quick-gen-key", uid, primary, "sign", "never")
	g.run("--quick-add-key", g.fingerprint(uid), sub, "encr", "never")
}

func wrapped(s string, n int) string {
	var lines []string
	for len(s) > n {
		lines, s = append(lines, s[:n]), s[n:]
	}
	return "  " + strings.Join(append(lines, s), "\r\n\t ") + "\n"
}

// revoke revokes a key with the revocation certificate that gpg made along with
// it.
func (g *gnupg) revoke(uid string) {
	g.t.Helper()
	file := g.home + "/openpgp-revocs.d/" + g.fingerprint(uid) + ".rev"
	cert, err := os.ReadFile(file)
	if err != nil {
		g.t.Fatal(err)
	}
	// A colon in front of the armor keeps it from being imported by mistake.
	if _, err := g.try(bytes.ReplaceAll(cert, []byte(":-----"), []byte("-----")), "--import"); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gnupg) genFromParameters(parameters string) {
	g.t.Helper()
	if _, err := g.try([]byte("%no-protection\n"+parameters+"\n%commit\n"), "--gen-key"); err != nil {
		g.t.Fatal(err)
	}
}

// TestGpgImportsTheBootstrapKey: the documented procedure ends in
// `gpg --import`. After that, gpg opens a message to the key.
func TestGpgImportsTheBootstrapKey(t *testing.T) {
	t.Parallel()
	private, err := generated[0]()
	if err != nil {
		t.Fatal(err)
	}
	armored, err := private.Armor()
	if err != nil {
		t.Fatal(err)
	}
	g := newGnupg(t)
	if _, err := g.try(armored, "--allow-secret-key-import", "--import"); err != nil {
		t.Fatal(err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	message, err := public.Wrap([]byte("00ff"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := g.try(message, "--decrypt"); err != nil || string(plain) != "00ff" {
		t.Errorf("gpg printed %q, %v", plain, err)
	}
	if prefix := hex.EncodeToString(message[:3]); prefix != "c1c14c" {
		t.Errorf("the message begins with %s, unlike those of DC/OS", prefix)
	}
}
