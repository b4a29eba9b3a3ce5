package pgp

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// keyNamed returns a new public key in base64, made at the time now, with the
// user id. The lifetime is in seconds; 0 means that the key does not expire.
func keyNamed(t testing.TB, id string, now time.Time, lifetime uint32) string {
	t.Helper()
	config := &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		Time: func() time.Time { return now }, KeyLifetimeSecs: lifetime,
	}
	entity, err := openpgp.NewEntity(id, "", "", config) // refuses only NUL and brackets
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := entity.Serialize(&out); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// A user id is shown to operators: it must not move the cursor, nor color or
// reorder their text.
func TestDescribedUserIDCannotDeceiveOnATerminal(t *testing.T) {
	now := time.Now()
	for id, want := range map[string]string{
		"Ann Smith ann@example.org":        "Ann Smith ann@example.org",
		"Jürgen 王":                         "Jürgen 王",
		"a\x1b[2Jb\r\nc\tde\x7ff":          "a[2Jbcdef",
		"a\u009b31mb\u0085c":               "a31mbc",
		"a\u202egro.elpmaxe\u2066b\u200bc": "agro.elpmaxebc",
		strings.Repeat("x", 5000):          strings.Repeat("x", 200),
		"\x1b":                             "",
	} {
		d, err := Describe(keyNamed(t, id, now, 0), now)
		if err != nil || d.UserID != want || d.Problem != "" || d.Algorithm != "ECDH Curve25519" || !d.Expires.IsZero() {
			t.Errorf("%q: %+v, %v, want %q", id, d, err, want)
		}
	}
}

func TestDescribeShowsExpiryBeforeAndAfterIt(t *testing.T) {
	made := time.Now().Truncate(time.Second)
	text := keyNamed(t, "ann", made, 3600)
	want := made.Add(time.Hour)
	for at, problem := range map[time.Time]string{made: "", want.Add(-time.Second): "", want.Add(time.Second): "the PGP key has expired"} {
		d, err := Describe(text, at)
		if err != nil || !d.Expires.Equal(want) || d.Problem != problem || d.UserID != "ann" || d.Algorithm != "ECDH Curve25519" {
			t.Errorf("at %v: %+v, %v, want expiry %v and problem %q", at, d, err, want, problem)
		}
	}
}

func TestDescribeRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "hello!", "aGVsbG8=", "\x99"} {
		if _, err := Describe(text, time.Now()); !isKeyError(err, "") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
