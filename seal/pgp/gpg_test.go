//go:build gpg

package pgp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// gnupg is a GNUPGHOME of the test's own.
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

// TestGpgOpensWhatWeWrap: for every kind of key, and every form in which it can
// be handed in, the real gpg prints the share.
func TestGpgOpensWhatWeWrap(t *testing.T) {
	g := newGnupg(t)
	kinds := map[string]func(uid string){
		"default":   func(uid string) { g.run("--quick-gen-key", uid, "default", "default", "never") },
		"future":    func(uid string) { g.run("--quick-gen-key", uid, "future-default", "default", "never") },
		"rsa2048":   func(uid string) { g.withSubkey(uid, "rsa2048", "rsa2048") },
		"rsa4096":   func(uid string) { g.withSubkey(uid, "rsa4096", "rsa4096") },
		"nistp256":  func(uid string) { g.withSubkey(uid, "nistp256", "nistp256") },
		"nistp521":  func(uid string) { g.withSubkey(uid, "nistp521", "nistp521") },
		"brainpool": func(uid string) { g.withSubkey(uid, "brainpoolP256r1", "brainpoolP256r1") },
		"expired subkey beside a fresh one": func(uid string) {
			const then = "20200101T000000!"
			g.run("--faked-system-time", then, "--quick-gen-key", uid, "ed25519", "sign", "never")
			g.run("--faked-system-time", then, "--quick-add-key", g.fingerprint(uid), "rsa2048", "encr", "1d")
			g.run("--quick-add-key", g.fingerprint(uid), "cv25519", "encr", "never")
		},
	}
	if testing.Short() {
		delete(kinds, "rsa4096")
	}
	for kind, make := range kinds {
		t.Run(kind, func(t *testing.T) {
			g.t = t
			uid := strings.ReplaceAll(kind, " ", "-") + "@example.org"
			make(uid)
			binary, armored := g.run("--export", uid), g.run("--armor", "--export", uid)
			b64 := base64.StdEncoding.EncodeToString(binary)
			forms := map[string]string{
				"base64 with a trailing space": b64 + " ",
				"wrapped base64":               wrapped(b64, 64),
				"base64 of armor":              base64.StdEncoding.EncodeToString(armored),
				"armor":                        string(armored),
				"base64 without padding":       strings.TrimRight(b64, "="),
			}
			for form, text := range forms {
				key, err := ParsePublicKey(text, time.Now())
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if want := strings.ToLower(g.fingerprint(uid)); key.Fingerprint() != want {
					t.Errorf("%s: fingerprint %s, want %s", form, key.Fingerprint(), want)
				}
				share := hex.EncodeToString(bytes.Repeat([]byte{0xA5}, 32))
				message, err := key.Wrap([]byte(share))
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				plain, err := g.try(message, "--decrypt")
				if err != nil || string(plain) != share {
					t.Errorf("%s: gpg printed %q, %v", form, plain, err)
				}
				listing, err := g.try(message, "--verbose", "--list-packets")
				if err != nil || !strings.Contains(string(listing), "mdc_method: 2") {
					t.Errorf("%s: not a SEIPDv1 packet: %v\n%s", form, err, listing)
				}
			}
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

// TestUnusableGpgKeysAreRefusedWithTheReason covers what gpg users send by
// mistake.
func TestUnusableGpgKeysAreRefusedWithTheReason(t *testing.T) {
	g := newGnupg(t)
	export := func(uid string) string { return base64.StdEncoding.EncodeToString(g.run("--export", uid)) }

	g.run("--quick-gen-key", "signonly", "rsa2048", "sign", "never")
	g.run("--faked-system-time", "20200101T000000!", "--quick-gen-key", "lapsed", "default", "default", "1d")
	g.run("--quick-gen-key", "revoked", "default", "default", "never")
	g.revoke("revoked")
	g.withSubkey("expiredsub", "ed25519", "cv25519")
	g.run("--quick-set-expire", g.fingerprint("expiredsub"), "seconds=1", "*")
	g.run("--quick-gen-key", "one", "default", "default", "never")
	g.run("--quick-gen-key", "two", "default", "default", "never")
	two := base64.StdEncoding.EncodeToString(append(g.run("--export", "one"), g.run("--export", "two")...))
	private := base64.StdEncoding.EncodeToString(g.run("--export-secret-keys", "one"))
	g.genFromParameters("Key-Type: DSA\nKey-Length: 2048\nSubkey-Type: ELG-E\nSubkey-Length: 2048\nName-Real: elgamal")
	g.genFromParameters("Key-Type: RSA\nKey-Length: 1024\nSubkey-Type: RSA\nSubkey-Length: 1024\nName-Real: short")
	signature, err := g.try([]byte("text"), "--detach-sign", "--local-user", "one")
	if err != nil {
		t.Fatal(err)
	}

	rows := []struct{ name, key, reason string }{
		{"sign-only", export("signonly"), "cannot encrypt"},
		{"expired", export("lapsed"), "expired"},
		{"expired subkey", export("expiredsub"), "expired"},
		{"revoked", export("revoked"), "revoked"},
		{"two keys", two, "more than one key"},
		{"private key", private, "private key"},
		{"DSA and ElGamal", export("elgamal"), "too weak"},
		{"RSA of 1024 bits", export("short"), "too weak"},
		{"a signature", base64.StdEncoding.EncodeToString(signature), "no PGP public key"},
	}
	for _, row := range rows {
		_, err := ParsePublicKey(row.key, time.Now().Add(time.Hour))
		var ke *KeyError
		if !errors.As(err, &ke) || !strings.Contains(ke.Reason, row.reason) || ke.Hint == "" {
			t.Errorf("%s: %v, want the reason %q and a hint", row.name, err, row.reason)
		}
	}
}

// revoke imports the revocation certificate that gpg made with the key.
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
// `gpg --import`, and gpg then opens what was wrapped for the key.
func TestGpgImportsTheBootstrapKey(t *testing.T) {
	private, err := Generate(time.Now())
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
		t.Errorf("the message begins with %s, not as those of DC/OS", prefix)
	}
}
