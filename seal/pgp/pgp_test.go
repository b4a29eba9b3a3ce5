package pgp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// generated returns key pairs made by Generate, each of them once for all tests.
var generated = [2]func() (*PrivateKey, error){sync.OnceValues(generateNow), sync.OnceValues(generateNow)}

func generateNow() (*PrivateKey, error) { return Generate(time.Now()) }

func TestGeneratedKeyOpensMessagesToItsPublicHalf(t *testing.T) {
	t.Parallel()
	k, err := generated[0]()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	armored, err := k.Armor()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePrivateKey(armored)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := again.Public(now)
	if err != nil {
		t.Fatal(err)
	}
	if pub.Fingerprint() != k.Fingerprint() || len(k.Fingerprint()) != 40 {
		t.Errorf("fingerprints differ: %s and %s", pub.Fingerprint(), k.Fingerprint())
	}
	msg, err := pub.Wrap([]byte("00ff"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := again.Unwrap(msg)
	if err != nil || string(plain) != "00ff" {
		t.Fatalf("Unwrap = %q, %v", plain, err)
	}
	for i := range msg {
		bad := bytes.Clone(msg)
		bad[i] ^= 1
		if plain, err := again.Unwrap(bad); err == nil && string(plain) != "00ff" {
			t.Fatalf("a message with byte %d flipped opened to something else", i)
		}
	}
	if _, err := ParsePublicKey(string(armored), now); !isKeyError(err, "private key") {
		t.Errorf("a private key was taken for a public one: %v", err)
	}
	if _, err := ParsePublicKey(base64.StdEncoding.EncodeToString(armored), now); !isKeyError(err, "private key") {
		t.Errorf("a private key in base64 was taken for a public one: %v", err)
	}
}

func TestOtherTextIsRefusedWithAHint(t *testing.T) {
	for _, text := range []string{"", " ", "hello!", "aGVsbG8=", "-----BEGIN PGP PUBLIC KEY BLOCK-----", strings.Repeat("A", maxKeyText+1)} {
		_, err := ParsePublicKey(text, time.Now())
		var ke *KeyError
		if !errors.As(err, &ke) || ke.Hint == "" {
			t.Errorf("ParsePublicKey of %d bytes = %v, want a KeyError with a hint", len(text), err)
		}
	}
}

func isKeyError(err error, reason string) bool {
	var ke *KeyError
	return errors.As(err, &ke) && strings.Contains(ke.Reason, reason)
}

// FuzzPublicKey checks that no input makes the parser panic, and that every
// accepted key can be encrypted to and described.
func FuzzPublicKey(f *testing.F) {
	f.Add("aGVsbG8=")
	f.Add(keyNamed(f, "ann", time.Now().Add(-time.Hour), 0))
	f.Add("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsBNBF8=\n-----END PGP PUBLIC KEY BLOCK-----")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublicKey(text, time.Now())
		if err != nil {
			var ke *KeyError
			if !errors.As(err, &ke) {
				t.Fatalf("not a KeyError: %v", err)
			}
			return
		}
		if _, err := k.Wrap([]byte("x")); err != nil {
			t.Fatalf("accepted a key that cannot be used: %v", err)
		}
		if d, err := Describe(text, time.Now()); err != nil || d.Problem != "" || d.Fingerprint != k.Fingerprint() {
			t.Fatalf("described a key that can be used as %+v, %v", d, err)
		}
	})
}
