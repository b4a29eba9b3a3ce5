//go:build gpg

package pgp

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestUnusableKeysAreRefusedWithTheReason covers what users of gpg and sq may
// send by mistake. Each refusal gives the reason and a command that helps.
func TestUnusableKeysAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	g := newGnupg(t)
	encode := base64.StdEncoding.EncodeToString
	export := func(uid string) string { return encode(g.run("--export", uid)) }

	g.run("--quick-gen-key", "signonly", "rsa2048", "sign", "never")
	g.run("--faked-system-time", fakedTime, "--quick-gen-key", "signsub", "ed25519", "sign", "never")
	g.run("--faked-system-time", fakedTime, "--quick-add-key", g.fingerprint("signsub"), "ed25519", "sign", "1d")
	g.run("--faked-system-time", fakedTime, "--quick-gen-key", "lapsed", "ed25519", "sign", "1d")
	g.run("--faked-system-time", fakedTime, "--quick-add-key", g.fingerprint("lapsed"), "cv25519", "encr", "1d")
	g.run("--quick-gen-key", "revoked", "future-default", "default", "never")
	g.revoke("revoked")
	g.withSubkey("expiredsub", "ed25519", "cv25519")
	g.run("--quick-set-expire", g.fingerprint("expiredsub"), "seconds=1", "*")
	g.withSubkey("weaksub", "ed25519", "rsa1024")
	g.withSubkey("one", "ed25519", "cv25519")
	g.withSubkey("two", "ed25519", "cv25519")
	g.genFromParameters("Key-Type: DSA\nKey-Length: 2048\nSubkey-Type: ELG-E\nSubkey-Length: 2048\nName-Real: elgamal")
	g.genFromParameters("Key-Type: RSA\nKey-Length: 1024\nSubkey-Type: RSA\nSubkey-Length: 1024\nName-Real: short")
	one, two := g.run("--export", "one"), g.run("--export", "two")
	armoredOne, armoredTwo := string(g.run("--armor", "--export", "one")), string(g.run("--armor", "--export", "two"))
	signature, err := g.try([]byte("text"), "--detach-sign", "--local-user", "one")
	if err != nil {
		t.Fatal(err)
	}
	sqPrivate := newSqKey(t, "--cipher-suite", "cv25519")
	sqLapsed := newSqKey(t, "--cipher-suite", "cv25519", "--creation-time", "20200101", "--expires-in", "1d")
	sqSignOnly := newSqKey(t, "--cipher-suite", "cv25519", "--cannot-encrypt")

	rows := []struct{ name, key, reason, hint string }{
		{"sign-only", export("signonly"), "cannot encrypt", "--quick-add-key"},
		{"sign-only with an expired signing subkey", export("signsub"), "cannot encrypt", "--quick-add-key"},
		{"expired", export("lapsed"), "the PGP key has expired", "--quick-set-expire"},
		{"expired subkey", export("expiredsub"), "subkey that encrypts has expired", "--quick-set-expire"},
		{"revoked", export("revoked"), "revoked", "--quick-gen-key"},
		{"two keys", encode(append(one, two...)), "more than one key", "--export KEYID"},
		{"two armored keys in one text", armoredOne + armoredTwo, "more than one key", "--export KEYID"},
		{"two armored keys in base64", encode([]byte(armoredOne + armoredTwo)), "more than one key", "--export KEYID"},
		{"two keys in one armor", string(g.run("--armor", "--export", "one", "two")), "more than one key", "--export KEYID"},
		{"private key", encode(g.run("--export-secret-keys", "one")), "private key", "--export"},
		{"armored private key", string(g.run("--armor", "--export-secret-keys", "one")), "private key", "--export"},
		{"private subkey", encode(g.run("--export-secret-subkeys", "one")), "private", "--export"},
		{"DSA and ElGamal", export("elgamal"), "too weak or of a kind", "--quick-gen-key"},
		{"RSA of 1024 bits", export("short"), "too weak", "--quick-gen-key"},
		{"subkey of 1024 bits", export("weaksub"), "too weak", "--quick-add-key"},
		{"a signature", encode(signature), "not a PGP public key", "--export KEYID"},
		{"sq: private key", string(sqPrivate.secret), "private key", "--export"},
		{"sq: expired", string(sqLapsed.cert), "has expired", "--quick-set-expire"},
		{"sq: sign-only", string(sqSignOnly.cert), "cannot encrypt", "--quick-add-key"},
		{"sq: revoked", string(sqPrivate.revoked(t)), "revoked", "--quick-gen-key"},
	}
	for _, row := range rows {
		_, err := ParsePublicKey(row.key, time.Now().Add(time.Hour))
		var ke *KeyError
		if !errors.As(err, &ke) || !strings.Contains(ke.Reason, row.reason) || !strings.Contains(ke.Hint, row.hint) {
			t.Errorf("%s: %v, want the reason %q and the hint %q", row.name, err, row.reason, row.hint)
		}
	}
}
