//go:build gpg

package pgp

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDescribeShowsAlgorithmAndExpiryOfRealKeys checks those of the encrypting
// key, also where that can no longer be used.
func TestDescribeShowsAlgorithmAndExpiryOfRealKeys(t *testing.T) {
	t.Parallel()
	g := newGnupg(t)
	made := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // the time in fakedTime
	old := func(args ...string) { g.run(append([]string{"--faked-system-time", fakedTime}, args...)...) }
	pair := func(uid, primary, primaryExpires, sub, subExpires string) {
		old("--quick-gen-key", uid, primary, "sign", primaryExpires)
		old("--quick-add-key", g.fingerprint(uid), sub, "encr", subExpires)
	}
	day := 24 * time.Hour
	rows := []struct {
		uid, algorithm string
		expires        time.Time // zero: never
		problem        string
		make           func(uid string)
	}{
		{"rsa", "RSA 2048", time.Time{}, "", func(uid string) { pair(uid, "ed25519", "never", "rsa2048", "never") }},
		{"cv", "ECDH Curve25519", time.Time{}, "", func(uid string) { pair(uid, "ed25519", "never", "cv25519", "never") }},
		{"nist", "ECDH P384", time.Time{}, "", func(uid string) { pair(uid, "ed25519", "never", "nistp384", "never") }},
		{"brainpool", "ECDH BrainpoolP512", time.Time{}, "", func(uid string) { pair(uid, "ed25519", "never", "brainpoolP512r1", "never") }},
		{"later", "ECDH Curve25519", made.Add(20000 * day), "", func(uid string) { pair(uid, "ed25519", "never", "cv25519", "20000d") }},
		{"primary expires first", "ECDH Curve25519", made.Add(19000 * day), "", func(uid string) { pair(uid, "ed25519", "19000d", "cv25519", "20000d") }},
		{"expired", "ECDH Curve25519", made.Add(day), "the PGP key has expired", func(uid string) { pair(uid, "ed25519", "1d", "cv25519", "2d") }},
		{"expired sub", "RSA 2048", made.Add(day), "the subkey that encrypts has expired", func(uid string) { pair(uid, "ed25519", "never", "rsa2048", "1d") }},
		{"sign only", "EdDSA Curve25519", time.Time{}, "the PGP key cannot encrypt", func(uid string) { old("--quick-gen-key", uid, "ed25519", "sign", "never") }},
		{"revoked", "ECDH P256", time.Time{}, "the PGP key has been revoked", func(uid string) {
			pair(uid, "ed25519", "never", "nistp256", "never")
			g.revoke(uid)
		}},
		{"expired sub, fresh sub", "ECDH Curve25519", time.Time{}, "", func(uid string) {
			pair(uid, "ed25519", "never", "rsa2048", "1d")
			g.run("--quick-add-key", g.fingerprint(uid), "cv25519", "encr", "never")
		}},
	}
	for _, row := range rows {
		row.make(row.uid)
		d, err := Describe(base64.StdEncoding.EncodeToString(g.run("--export", "="+row.uid)), time.Now())
		want := Description{
			Fingerprint: strings.ToLower(g.fingerprint("=" + row.uid)), UserID: row.uid,
			Algorithm: row.algorithm, Expires: row.expires, Problem: row.problem,
		}
		if err != nil || !d.Expires.Equal(want.Expires) {
			t.Errorf("%s: expires %v, %v, want %v", row.uid, d.Expires, err, want.Expires)
		}
		d.Expires = want.Expires
		if fmt.Sprint(d) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", row.uid, d, want)
		}
	}
}
