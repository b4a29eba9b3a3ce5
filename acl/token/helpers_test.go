package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"secretstore/acl/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

var (
	hmacKey  = []byte("0123456789abcdef0123456789abcdef")
	otherKey = []byte("another key of thirty-two bytes!")
)

// now is the time of every test that does not move its clock.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rsaKeys and ecKey are made once: an RSA key takes a noticeable time.
var rsaKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func rsaJWK(n *big.Int, e int, more object) object {
	jwk := object{"kty": "RSA", "n": b64(n.Bytes()), "e": b64(big.NewInt(int64(e)).Bytes())}
	for k, v := range more {
		jwk[k] = v
	}
	return jwk
}

func ecJWK(t testing.TB, pub *ecdsa.PublicKey, more object) object {
	t.Helper()
	raw, err := pub.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(raw) - 1) / 2
	jwk := object{"kty": "EC", "crv": pub.Curve.Params().Name, "x": b64(raw[1 : 1+half]), "y": b64(raw[1+half:])}
	for k, v := range more {
		jwk[k] = v
	}
	return jwk
}

func jwks(t testing.TB, keys ...object) []byte {
	t.Helper()
	return mustJSON(t, object{"keys": keys})
}

// signRaw makes a token of any header and payload, signed by the method with
// the key.
func signRaw(t testing.TB, method jwt.SigningMethod, header, payload []byte, key any) string {
	t.Helper()
	text := b64(header) + "." + b64(payload)
	sig, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

func sign(t testing.TB, method jwt.SigningMethod, header, claims object, key any) string {
	t.Helper()
	h := object{"alg": method.Alg(), "typ": "JWT"}
	for k, v := range header {
		h[k] = v
	}
	return signRaw(t, method, mustJSON(t, h), mustJSON(t, claims), key)
}

func hs256(t testing.TB, claims object) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, nil, claims, hmacKey)
}

func rs256(t testing.TB, header, claims object, key crypto.PrivateKey) string {
	t.Helper()
	return sign(t, jwt.SigningMethodRS256, header, claims, key)
}

func newVerifier(t testing.TB, c token.Config) *token.Verifier {
	t.Helper()
	if c.Now == nil {
		c.Now = func() time.Time { return now }
	}
	v, err := token.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
