package token_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl"
	"secretstore/acl/token"
)

// both has a key for each algorithm.
func both(t testing.TB) *token.Verifier {
	return newVerifier(t, token.Config{HMACKey: hmacKey, JWKS: jwks(t,
		rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, object{"kid": "r0", "alg": "RS256", "use": "sig"}),
		rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, object{"kid": "r1"}),
		ecJWK(t, &ecKey().PublicKey, object{"kid": "e0", "alg": "ES256"}),
	)})
}

func TestGoodTokens(t *testing.T) {
	v := both(t)
	alice := object{"uid": "alice"}
	for name, raw := range map[string]string{
		"HS256":                    hs256(t, alice),
		"HS256 with a kid":         sign(t, jwt.SigningMethodHS256, object{"kid": "whatever"}, alice, hmacKey),
		"RS256 with kid":           rs256(t, object{"kid": "r0"}, alice, rsaKeys()[0]),
		"RS256, second key":        rs256(t, object{"kid": "r1"}, alice, rsaKeys()[1]),
		"RS256 without kid":        rs256(t, nil, alice, rsaKeys()[0]),
		"RS256 without kid, 2nd":   rs256(t, nil, alice, rsaKeys()[1]),
		"ES256 with kid":           sign(t, jwt.SigningMethodES256, object{"kid": "e0"}, alice, ecKey()),
		"ES256 without kid":        sign(t, jwt.SigningMethodES256, nil, alice, ecKey()),
		"without typ":              signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), mustJSON(t, alice), hmacKey),
		"x5t in the header":        sign(t, jwt.SigningMethodHS256, object{"x5t": "abc"}, alice, hmacKey),
		"other claims are ignored": hs256(t, object{"uid": "alice", "iss": "x", "aud": []string{"y"}, "iat": 1e15, "UID": "mallory", "sub": nil}),
		"integers as exponents":    signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), []byte(`{"uid":"alice","exp":2e9,"nbf":0.5}`), hmacKey),
	} {
		for _, when := range []string{"first", "cached"} {
			p, err := v.Verify(raw)
			if _, bound := p.Service.Get(); err != nil || p.UID != "alice" || bound {
				t.Errorf("%s, %s: %+v, %v", name, when, p, err)
			}
		}
	}
}

func TestBadTokensAreRefusedWithoutRepeatingThem(t *testing.T) {
	v := both(t)
	const canary = "canary-uid-41c7"
	claims := object{"uid": canary}
	payload := mustJSON(t, claims)
	good := hs256(t, claims)
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(&rsaKeys()[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk := rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, nil)
	claim := func(more string) string {
		return signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), []byte(`{"uid":"`+canary+`",`+more+`}`), hmacKey)
	}
	header := func(h string) string {
		return signRaw(t, jwt.SigningMethodHS256, []byte(h), payload, hmacKey)
	}
	whole := func(payload string) string {
		return signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), []byte(payload), hmacKey)
	}
	for name, raw := range map[string]string{
		"empty":                                  "",
		"text":                                   "hello " + canary,
		"dots":                                   "..",
		"many dots":                              strings.Repeat(".", 10000),
		"four parts":                             good + ".x",
		"five parts (JWE)":                       good + "..",
		"two parts":                              parts[0] + "." + parts[1],
		"no signature":                           parts[0] + "." + parts[1] + ".",
		"cut":                                    good[:len(good)-1],
		"longer":                                 good + "A",
		"line break in the signature":            good[:len(good)-4] + "\n" + good[len(good)-4:],
		"line break at the end":                  good + "\n",
		"padded":                                 good + "=",
		"another spelling of the last character": good[:len(good)-1] + nextSpelling(good[len(good)-1]),
		"prefix token=":                          "token=" + good,
		"too long":                               hs256(t, object{"uid": canary, "x": strings.Repeat("x", token.MaxTokenBytes)}),
		"payload of another":                     parts[0] + "." + b64([]byte(`{"uid":"root"}`)) + "." + parts[2],
		"another key":                            sign(t, jwt.SigningMethodHS256, nil, claims, otherKey),
		"empty key":                              sign(t, jwt.SigningMethodHS256, nil, claims, []byte{}),
		"alg none":                               signRaw(t, jwt.SigningMethodNone, []byte(`{"alg":"none"}`), payload, jwt.UnsafeAllowNoneSignatureType),
		"alg None":                               b64([]byte(`{"alg":"None"}`)) + "." + b64(payload) + ".",
		"alg none with an HMAC":                  header(`{"alg":"none"}`),
		"no alg":                                 header(`{"typ":"JWT"}`),
		"alg null":                               header(`{"alg":null}`),
		"alg in lower case":                      header(`{"alg":"hs256"}`),
		"alg is a list":                          header(`{"alg":["HS256"]}`),
		"header is null":                         header(`null`),
		"header is a list":                       header(`["HS256"]`),
		"header is not JSON":                     header(`{"alg":"HS256"`),
		"HS512 with the same key":                sign(t, jwt.SigningMethodHS512, nil, claims, hmacKey),
		"RS512":                                  sign(t, jwt.SigningMethodRS512, nil, claims, rsaKeys()[0]),
		"PS256":                                  sign(t, jwt.SigningMethodPS256, nil, claims, rsaKeys()[0]),
		"ES384":                                  sign(t, jwt.SigningMethodES384, nil, claims, newEC(elliptic.P384())),
		"HS256 with the PEM public key":          sign(t, jwt.SigningMethodHS256, nil, claims, asPEM),
		"HS256 with the DER public key":          sign(t, jwt.SigningMethodHS256, object{"kid": "r0"}, claims, der),
		"HS256 with the modulus":                 sign(t, jwt.SigningMethodHS256, object{"kid": "r0"}, claims, rsaKeys()[0].N.Bytes()),
		"RS256 header over an HMAC":              header(`{"alg":"RS256"}`),
		"RS256 with an unknown key":              rs256(t, object{"kid": "r0"}, claims, mustRSA(t)),
		"RS256 with an unknown kid":              rs256(t, object{"kid": "r9"}, claims, rsaKeys()[0]),
		"RS256 with another key's kid":           rs256(t, object{"kid": "r1"}, claims, rsaKeys()[0]),
		"RS256 with the kid of an EC key":        rs256(t, object{"kid": "e0"}, claims, rsaKeys()[0]),
		"ES256 with another key":                 sign(t, jwt.SigningMethodES256, nil, claims, newEC(elliptic.P256())),
		"kid is a number":                        rs256(t, object{"kid": 1}, claims, rsaKeys()[0]),
		"kid is null":                            rs256(t, object{"kid": nil}, claims, rsaKeys()[0]),
		"crit":                                   header(`{"alg":"HS256","crit":["exp"]}`),
		"crit empty":                             header(`{"alg":"HS256","crit":[]}`),
		"jwk brings its key":                     rs256(t, object{"jwk": jwk}, claims, rsaKeys()[0]),
		"jku":                                    rs256(t, object{"jku": "https://127.0.0.1/keys"}, claims, rsaKeys()[0]),
		"x5u":                                    rs256(t, object{"x5u": "https://127.0.0.1/keys"}, claims, rsaKeys()[0]),
		"x5c":                                    rs256(t, object{"x5c": []string{b64(der)}}, claims, rsaKeys()[0]),
		"zip":                                    header(`{"alg":"HS256","zip":"DEF"}`),
		"payload null":                           whole(`null`),
		"payload empty":                          whole(``),
		"payload a list":                         whole(`["uid"]`),
		"payload with more behind":               whole(`{"uid":"` + canary + `"}{}`),
		"uid missing":                            whole(`{}`),
		"uid in another case":                    whole(`{"UID":"` + canary + `"}`),
		"uid null":                               whole(`{"uid":null}`),
		"uid empty":                              whole(`{"uid":""}`),
		"uid a number":                           whole(`{"uid":7}`),
		"uid a list":                             whole(`{"uid":["` + canary + `"]}`),
		"uid with a line break":                  whole(`{"uid":"` + canary + `\n"}`),
		"uid outside ASCII":                      whole(`{"uid":"` + canary + `é"}`),
		"uid with invalid UTF-8":                 whole("{\"uid\":\"" + canary + "\xff\"}"),
		"uid too long":                           whole(`{"uid":"` + strings.Repeat("x", 257) + `"}`),
		"uid twice":                              whole(`{"uid":"root","uid":"` + canary + `"}`),
		"exp twice":                              claim(`"exp":9999999999,"exp":9999999999`),
		"uid twice by an escape":                 whole(`{"uid":"root","\u0075id":"` + canary + `"}`),
		"exp null":                               claim(`"exp":null`),
		"exp a string":                           claim(`"exp":"9999999999"`),
		"exp huge":                               claim(`"exp":1e300`),
		"exp a list":                             claim(`"exp":[9999999999]`),
		"exp zero":                               claim(`"exp":0`),
		"exp negative":                           claim(`"exp":-1`),
		"exp the zero time with leeway":          claim(`"exp":-62135596830`),
		"nbf negative":                           claim(`"nbf":-1`),
		"nbf the zero time with leeway":          claim(`"nbf":-62135596770`),
		"exp true":                               claim(`"exp":true`),
		"nbf null":                               claim(`"nbf":null`),
		"nbf a string":                           claim(`"nbf":"0"`),
		"nbf huge":                               claim(`"nbf":1e18`),
	} {
		for _, when := range []string{"first", "again"} {
			p, err := v.Verify(raw)
			if p != (acl.Principal{}) || !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s, %s: %+v, %v; want ErrInvalid and nobody", name, when, p, err)
				continue
			}
			for _, part := range append(strings.Split(raw, "."), canary) {
				if len(part) > 3 && strings.Contains(err.Error(), part) {
					t.Errorf("%s: the error repeats the token: %v", name, err)
				}
			}
		}
	}
}

func TestIssuerAndAudienceAreDemanded(t *testing.T) {
	config := token.Config{HMACKey: hmacKey, JWKS: jwks(t, rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, nil))}
	anyone := newVerifier(t, config)
	config.Issuers, config.Audiences = []string{"https://a", "https://b"}, []string{"secrets", "store"}
	strict := newVerifier(t, config)
	for claims, ok := range map[string]bool{
		`"iss":"https://a","aud":"secrets"`:             true,
		`"iss":"https://b","aud":["other","store"]`:     true,
		`"iss":"https://a"`:                             false,
		`"aud":"secrets"`:                               false,
		`"iss":"https://c","aud":"secrets"`:             false,
		`"iss":"https://a/","aud":"secrets"`:            false,
		`"iss":["https://a"],"aud":"secrets"`:           false,
		`"iss":null,"aud":"secrets"`:                    false,
		`"iss":"https://a","aud":"other"`:               false,
		`"iss":"https://a","aud":"Secrets"`:             false,
		`"iss":"https://a","aud":[]`:                    false,
		`"iss":"https://a","aud":["other"]`:             false,
		`"iss":"https://a","aud":["secrets",1]`:         false,
		`"iss":"https://a","aud":[["secrets"]]`:         false,
		`"iss":"https://a","aud":{"secrets":"secrets"}`: false,
		`"iss":"https://a","aud":null`:                  false,
		`"iss":"https://a","AUD":"secrets"`:             false,
	} {
		payload := []byte(`{"uid":"alice",` + claims + `}`)
		for alg, raw := range map[string]string{
			"HS256": signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), payload, hmacKey),
			"RS256": signRaw(t, jwt.SigningMethodRS256, []byte(`{"alg":"RS256"}`), payload, rsaKeys()[0]),
		} {
			for range 2 { // the second time from memory
				if _, err := strict.Verify(raw); (err == nil) != ok || err != nil && !errors.Is(err, token.ErrInvalid) {
					t.Errorf("%s %s: %v; want accepted %v", alg, claims, err, ok)
				}
				if _, err := anyone.Verify(raw); err != nil {
					t.Errorf("%s %s: %v, though nothing is demanded", alg, claims, err)
				}
			}
		}
	}
}

// nextSpelling changes the bits of a last base64 character that carry no data:
// 32 bytes leave two of them.
func nextSpelling(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1:][:1]
}

func TestWithoutKeysAllTokensAreRefused(t *testing.T) {
	v := newVerifier(t, token.Config{})
	for _, raw := range []string{hs256(t, object{"uid": "a"}), sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, []byte{}),
		signRaw(t, jwt.SigningMethodNone, []byte(`{"alg":"none"}`), []byte(`{"uid":"a"}`), jwt.UnsafeAllowNoneSignatureType)} {
		if p, err := v.Verify(raw); !errors.Is(err, token.ErrNoKeys) || p != (acl.Principal{}) {
			t.Errorf("%+v, %v; want ErrNoKeys", p, err)
		}
	}
	onlyRSA := newVerifier(t, token.Config{JWKS: jwks(t, rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, nil))})
	if _, err := onlyRSA.Verify(sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, []byte{})); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("HS256 under an empty key, where only RSA is configured: %v", err)
	}
	if err := v.SetHMACKey(hmacKey); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(hs256(t, object{"uid": "a"})); err != nil {
		t.Errorf("after a key has arrived: %v", err)
	}
}

func TestDatesAreCheckedAtEachUse(t *testing.T) {
	clock := now
	v := newVerifier(t, token.Config{HMACKey: hmacKey, Now: func() time.Time { return clock }})
	raw := hs256(t, object{"uid": "a", "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	for _, tc := range []struct {
		at   time.Duration
		want bool
	}{
		{-31 * time.Second, false}, {-30 * time.Second, true}, {0, true}, {time.Hour, true},
		{time.Hour + 30*time.Second - time.Nanosecond, true}, {time.Hour + 30*time.Second, false}, {48 * time.Hour, false},
		{-time.Minute, false}, {time.Minute, true},
	} {
		clock = now.Add(tc.at)
		p, err := v.Verify(raw)
		if (err == nil) != tc.want || tc.want != (p.UID == "a") {
			t.Errorf("at %v: %+v, %v; want %v", tc.at, p, err, tc.want)
		}
		if tc.want && !p.Expires.Equal(now.Add(time.Hour+token.Leeway)) {
			t.Errorf("at %v: expires %v", tc.at, p.Expires)
		}
	}
	clock = now.Add(100 * 365 * 24 * time.Hour)
	if p, err := v.Verify(hs256(t, object{"uid": "a"})); err != nil || !p.Expires.IsZero() {
		t.Errorf("a token without exp: %+v, %v", p, err)
	}
}

func TestTheServiceClaim(t *testing.T) {
	hmacOnly := newVerifier(t, token.Config{HMACKey: hmacKey})
	set := jwks(t, rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, nil))
	counts := newVerifier(t, token.Config{JWKS: set, JWKSServiceClaim: true})
	ignored := newVerifier(t, token.Config{JWKS: set, HMACKey: hmacKey})
	for _, tc := range []struct{ claim, want string }{
		{`"/group/app"`, "/group/app"}, {`"group/app"`, "/group/app"}, {`"prod.db.backup"`, "/prod/db/backup"}, {`"/"`, "/"},
		{`null`, ""}, {`""`, ""}, {`[]`, ""}, {`["/a"]`, ""}, {`["/a","/b"]`, ""}, {`{}`, ""}, {`7`, ""}, {`true`, ""}, {`"/a/../b"`, ""},
		{`"//"`, ""}, {`"/a/"`, ""}, {`"/a*"`, ""}, {`"*"`, ""}, {`" /a"`, ""}, {`"/a,/b"`, ""},
	} {
		payload := []byte(`{"uid":"u","service":` + tc.claim + `}`)
		hs := signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), payload, hmacKey)
		rs := signRaw(t, jwt.SigningMethodRS256, []byte(`{"alg":"RS256"}`), payload, rsaKeys()[0])
		for name, verify := range map[string]func() (acl.Principal, error){
			"HS256":                     func() (acl.Principal, error) { return hmacOnly.Verify(hs) },
			"HS256 beside a key set":    func() (acl.Principal, error) { return ignored.Verify(hs) },
			"key set where it counts":   func() (acl.Principal, error) { return counts.Verify(rs) },
			"the same, remembered":      func() (acl.Principal, error) { return counts.Verify(rs) },
			"HS256, the same, remember": func() (acl.Principal, error) { return hmacOnly.Verify(hs) },
		} {
			p, err := verify()
			if tc.want == "" {
				if !errors.Is(err, token.ErrInvalid) || p != (acl.Principal{}) {
					t.Errorf("%s, %s: %+v, %v; want ErrInvalid", name, tc.claim, p, err)
				}
				continue
			}
			if s, bound := p.Service.Get(); err != nil || !bound || s.String() != tc.want {
				t.Errorf("%s, %s: %+v, %v; want to be bound to %s", name, tc.claim, p, err, tc.want)
			}
		}
		// Where it does not count, the token names its uid and gains
		// nothing.
		p, err := ignored.Verify(rs)
		if _, bound := p.Service.Get(); err != nil || bound || p.UID != "u" {
			t.Errorf("key set where it does not count, %s: %+v, %v", tc.claim, p, err)
		}
	}
}

func TestKeySets(t *testing.T) {
	key := rsaKeys()[0]
	raw := rs256(t, object{"kid": "k"}, object{"uid": "a"}, key)
	n, e := key.N, key.E
	short := new(big.Int).SetBit(new(big.Int), 2046, 1) // 2047 bits
	short.SetBit(short, 0, 1)
	d := b64(key.D.Bytes())
	for _, tc := range []struct {
		name   string
		set    []byte
		loads  bool
		verify bool
	}{
		{"plain", jwks(t, rsaJWK(n, e, nil)), true, true},
		{"the kid", jwks(t, rsaJWK(n, e, object{"kid": "k"})), true, true},
		{"another kid", jwks(t, rsaJWK(n, e, object{"kid": "x"})), true, false},
		{"same kid twice", jwks(t, rsaJWK(rsaKeys()[1].N, e, object{"kid": "k"}), rsaJWK(n, e, object{"kid": "k"})), true, true},
		{"key_ops verify", jwks(t, rsaJWK(n, e, object{"key_ops": []string{"verify"}})), true, true},
		{"a certificate URL is not fetched", jwks(t, rsaJWK(n, e, object{"x5u": "https://127.0.0.1:1/"})), true, true},
		{"nonsense certificates are ignored", jwks(t, rsaJWK(n, e, object{"x5c": []string{"!"}, "x5t": "!"})), true, true},
		{"with keys of other kinds", jwks(t, object{"kty": "oct", "k": b64(hmacKey)}, object{"kty": "OKP", "crv": "Ed25519", "x": "AA"},
			rsaJWK(n, e, object{"use": "enc"}), object{"kty": "new"}, rsaJWK(n, e, nil)), true, true},
		{"for encryption", jwks(t, rsaJWK(n, e, object{"use": "enc"})), false, false},
		{"for signing only", jwks(t, rsaJWK(n, e, object{"key_ops": []string{"sign"}})), false, false},
		{"for RS512", jwks(t, rsaJWK(n, e, object{"alg": "RS512"})), false, false},
		{"for HS256", jwks(t, rsaJWK(n, e, object{"alg": "HS256"})), false, false},
		{"for ES256", jwks(t, rsaJWK(n, e, object{"alg": "ES256"})), false, false},
		{"published private key", jwks(t, rsaJWK(n, e, object{"d": d})), false, false},
		{"symmetric", jwks(t, object{"kty": "oct", "k": b64(hmacKey), "alg": "HS256"}), false, false},
		{"2047 bits", jwks(t, rsaJWK(short, e, nil)), false, false},
		{"too many bits", jwks(t, rsaJWK(new(big.Int).SetBit(n, 9000, 1), e, nil)), false, false},
		{"exponent 1", jwks(t, rsaJWK(n, 1, nil)), false, false},
		{"exponent 2", jwks(t, rsaJWK(n, 2, nil)), false, false},
		{"exponent too large", jwks(t, rsaJWK(n, 1<<31+1, nil)), false, false},
		{"exponent that wraps around", jwks(t, object{"kty": "RSA", "n": b64(n.Bytes()), "e": b64(append([]byte{1, 0, 0, 0, 0, 0}, 1, 0, 1))}), false, false},
		{"P-384", jwks(t, ecJWK(t, &newEC(elliptic.P384()).PublicKey, nil)), false, false},
		{"point off the curve", jwks(t, object{"kty": "EC", "crv": "P-256", "x": b64(hmacKey), "y": b64(hmacKey)}), false, false},
		{"no keys", jwks(t), false, false},
		{"keys null", []byte(`{"keys":null}`), false, false},
		{"null", []byte(`null`), false, false},
		{"list", []byte(`[]`), false, false},
		{"one bare key", mustJSON(t, rsaJWK(n, e, nil)), false, false},
		{"not JSON", []byte(`<html>`), false, false},
		{"empty", []byte{}, false, false},
		{"too many keys", jwks(t, repeat(rsaJWK(n, e, nil), 33)...), false, false},
		{"too large", append(jwks(t, rsaJWK(n, e, nil)), make([]byte, token.MaxJWKSBytes)...), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := token.New(token.Config{JWKS: tc.set})
			if (err == nil) != tc.loads {
				t.Fatalf("New: %v; want it to load: %v", err, tc.loads)
			}
			if err != nil {
				if v != nil || !errors.Is(err, token.ErrBadJWKS) || strings.Contains(err.Error(), d[:20]) || strings.Contains(err.Error(), b64(hmacKey)) {
					t.Errorf("%v, %v", v, err)
				}
				return
			}
			if _, err := v.Verify(raw); (err == nil) != tc.verify {
				t.Errorf("Verify: %v; want %v", err, tc.verify)
			}
		})
	}
}

func repeat(o object, n int) []object {
	list := make([]object, n)
	for i := range list {
		list[i] = o
	}
	return list
}

func TestNewReportsAllProblems(t *testing.T) {
	v, err := token.New(token.Config{HMACKey: hmacKey[:31], JWKS: []byte("{}"), CacheSize: -1})
	if v != nil || !errors.Is(err, token.ErrShortKey) || !errors.Is(err, token.ErrBadJWKS) || !strings.Contains(err.Error(), "cache") {
		t.Errorf("%v, %v", v, err)
	}
	if err != nil && strings.Contains(err.Error(), string(hmacKey[:31])) {
		t.Errorf("the error repeats the key: %v", err)
	}
	for _, key := range [][]byte{{}, hmacKey[:31], make([]byte, 1<<20)} {
		if _, err := token.New(token.Config{HMACKey: key}); err == nil {
			t.Errorf("a key of %d bytes is accepted", len(key))
		}
	}
}

// TestAKeyLeftOutOfASetIsReported, if it was meant for tokens: its users get 401.
// The others work.
func TestAKeyLeftOutOfASetIsReported(t *testing.T) {
	good := rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, object{"kid": "good"})
	malformed := rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, object{"kid": "standard-base64", "n": "+/+/"})
	private := rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, object{"d": "AQAB"})
	for name, tt := range map[string]struct {
		set   []byte
		words []string // nil: no report
	}{
		"all good":     {jwks(t, good), nil},
		"malformed":    {jwks(t, good, malformed), []string{`key 1 (kid "standard-base64"): malformed`}},
		"two":          {jwks(t, malformed, good, private), []string{"key 0 (kid", "key 2: holds a private"}},
		"for others":   {jwks(t, good, object{"kty": "oct", "k": "AAAA"}, rsaJWK(rsaKeys()[1].N, 65537, object{"use": "enc"}), object{"kty": "OKP"}), nil},
		"control text": {jwks(t, good, rsaJWK(rsaKeys()[1].N, 2, object{"kid": "\x1b[2J"})), []string{`(kid "\x1b[2J"): RSA key with a bad exponent`}},
	} {
		v, err := token.New(token.Config{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		err = v.SetJWKS(tt.set)
		if errors.Is(err, token.ErrKeyLeftOut) != (tt.words != nil) || err != nil && tt.words == nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tt.words {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		if _, err := v.Verify(rs256(t, nil, object{"uid": "a"}, rsaKeys()[0])); err != nil {
			t.Errorf("%s: the good key: %v", name, err)
		}
	}
}

func TestAChangedKeyAppliesToRememberedTokens(t *testing.T) {
	v := both(t)
	hs, rs := hs256(t, object{"uid": "a"}), rs256(t, nil, object{"uid": "a"}, rsaKeys()[0])
	mustVerify := func(raw string, want bool) {
		t.Helper()
		if _, err := v.Verify(raw); (err == nil) != want {
			t.Fatalf("%v; want it accepted: %v", err, want)
		}
	}
	mustVerify(hs, true)
	mustVerify(rs, true)
	if err := v.SetHMACKey(otherKey); err != nil {
		t.Fatal(err)
	}
	mustVerify(hs, false)
	mustVerify(rs, true)
	mustVerify(sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, otherKey), true)
	if err := v.SetJWKS(jwks(t, rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, nil))); err != nil {
		t.Fatal(err)
	}
	mustVerify(rs, false)
	mustVerify(sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, otherKey), true)
	// A refused change changes nothing.
	if err := v.SetHMACKey(hmacKey[:31]); !errors.Is(err, token.ErrShortKey) {
		t.Fatal(err)
	}
	if err := v.SetJWKS([]byte(`{}`)); !errors.Is(err, token.ErrBadJWKS) || errors.Is(err, token.ErrRevoked) {
		t.Fatal(err)
	}
	hs = sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, otherKey)
	rs = rs256(t, nil, object{"uid": "a"}, rsaKeys()[1])
	mustVerify(hs, true)
	mustVerify(rs, true)
	// An emptied source takes its keys back, remembered tokens included, and
	// leaves the other source alone.
	if err := v.SetJWKS([]byte(`{"keys":[]}`)); !errors.Is(err, token.ErrRevoked) || !errors.Is(err, token.ErrBadJWKS) {
		t.Fatal(err)
	}
	mustVerify(hs, true)
	mustVerify(rs, false)
	if err := v.SetHMACKey(nil); !errors.Is(err, token.ErrRevoked) || !errors.Is(err, token.ErrShortKey) {
		t.Fatal(err)
	}
	mustVerify(hs, false)
	mustVerify(sign(t, jwt.SigningMethodHS256, nil, object{"uid": "a"}, []byte{}), false)
	if _, err := v.Verify(hs); !errors.Is(err, token.ErrNoKeys) {
		t.Errorf("with no key at all: %v", err)
	}
	if err := v.SetHMACKey(otherKey); err != nil {
		t.Fatal(err)
	}
	mustVerify(hs, true)
}

// The caller's key slice may be wiped after it was handed over.
func TestTheKeyIsCopied(t *testing.T) {
	key := append([]byte{}, hmacKey...)
	v := newVerifier(t, token.Config{HMACKey: key})
	clear(key)
	if _, err := v.Verify(hs256(t, object{"uid": "a"})); err != nil {
		t.Error(err)
	}
}

// The key changes while a token is being verified, after its signature was
// found good and before it is remembered.
func TestAVerificationUnderOldKeysIsNotRemembered(t *testing.T) {
	var v *token.Verifier
	var once sync.Once
	v = newVerifier(t, token.Config{HMACKey: hmacKey, Now: func() time.Time {
		once.Do(func() {
			if err := v.SetHMACKey(otherKey); err != nil {
				t.Error(err)
			}
		})
		return now
	}})
	raw := hs256(t, object{"uid": "a"})
	if _, err := v.Verify(raw); err != nil {
		t.Fatalf("the verification that began before: %v", err)
	}
	if p, err := v.Verify(raw); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("after the change: %+v, %v", p, err)
	}
}

func TestKeysMayChangeWhileTokensAreVerified(t *testing.T) {
	v := newVerifier(t, token.Config{HMACKey: hmacKey, CacheSize: 4})
	tokens := make([]string, 16)
	for i := range tokens {
		tokens[i] = hs256(t, object{"uid": "a", "n": i})
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if p, err := v.Verify(tokens[i%len(tokens)]); err == nil && p.UID != "a" {
					t.Errorf("%+v", p)
					return
				}
			}
		})
	}
	for i := range 200 {
		key := hmacKey
		if i%2 == 0 {
			key = otherKey
		}
		if err := v.SetHMACKey(key); err != nil {
			t.Error(err)
		}
	}
	if err := v.SetHMACKey(otherKey); err != nil {
		t.Error(err)
	}
	for _, raw := range tokens {
		if _, err := v.Verify(raw); err == nil {
			t.Error("a token of the old key is accepted while others verify")
		}
	}
	close(stop)
	wg.Wait()
}

func TestSign(t *testing.T) {
	v := newVerifier(t, token.Config{HMACKey: hmacKey})
	raw, err := token.Sign("alice", now.Add(time.Hour), "prod.db", hmacKey)
	if err != nil {
		t.Fatal(err)
	}
	p, err := v.Verify(raw)
	if s, bound := p.Service.Get(); err != nil || p.UID != "alice" || !bound || s.String() != "/prod/db" || !p.Expires.Equal(now.Add(time.Hour+token.Leeway)) {
		t.Errorf("%+v, %v", p, err)
	}
	if raw, err = token.Sign("bob", time.Time{}, "", hmacKey); err != nil {
		t.Fatal(err)
	}
	p, err = v.Verify(raw)
	if _, bound := p.Service.Get(); err != nil || bound || !p.Expires.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	for _, tc := range []struct {
		uid, service string
		key          []byte
		want         error
	}{
		{"", "", hmacKey, token.ErrBadUID}, {"a\n", "", hmacKey, token.ErrBadUID}, {"a", "/a/../b", hmacKey, acl.ErrInvalidService}, {"a", "", hmacKey[:31], token.ErrShortKey},
		{"a", "", nil, token.ErrShortKey},
	} {
		if raw, err := token.Sign(tc.uid, time.Time{}, tc.service, tc.key); raw != "" || !errors.Is(err, tc.want) {
			t.Errorf("%q, %q: %q, %v; want %v", tc.uid, tc.service, raw, err, tc.want)
		}
	}
}

func TestFirstLine(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "a\n": "a", "a\r\nb": "a", "\na": "", " a \nb\n": " a ", "a\rb": "a\rb"} {
		if got := string(token.FirstLine([]byte(in))); got != want {
			t.Errorf("%q: %q; want %q", in, got, want)
		}
	}
}

// Whatever a token says under a good signature, it is refused or it means what
// an independent reading finds.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{"uid":"a"}`, `{"uid":"a","exp":1e10,"nbf":0,"service":"/a"}`, `{"uid":"a","uid":"b"}`, `{"service":null}`, `[]`, `null`, `{"uid":"a"} x`} {
		f.Add([]byte(s))
	}
	v := newVerifier(f, token.Config{HMACKey: hmacKey})
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := v.Verify(signRaw(t, jwt.SigningMethodHS256, []byte(`{"alg":"HS256"}`), payload, hmacKey))
		if err != nil {
			if p != (acl.Principal{}) || !errors.Is(err, token.ErrInvalid) {
				t.Fatalf("%+v, %v", p, err)
			}
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(payload, &plain); err != nil || plain["uid"] != p.UID || !acl.ValidUID(p.UID) {
			t.Fatalf("%+v from %q (%v)", p, payload, err)
		}
		if exp, there := plain["exp"]; there != !p.Expires.IsZero() || there && now.Unix() >= int64(exp.(float64))+31 {
			t.Fatalf("%+v from %q", p, payload)
		}
		claim, there := plain["service"]
		s, bound := p.Service.Get()
		if there != bound {
			t.Fatalf("%+v from %q", p, payload)
		}
		if bound {
			if want, err := acl.ParseService(claim.(string)); err != nil || want != s {
				t.Fatalf("%+v from %q", p, payload)
			}
		}
	})
}

// Without the key no token can be made, by changing one or otherwise.
func FuzzVerify(f *testing.F) {
	v := both(f)
	good := map[string]bool{}
	for _, raw := range []string{hs256(f, object{"uid": "a"}), rs256(f, nil, object{"uid": "a"}, rsaKeys()[0]), sign(f, jwt.SigningMethodES256, nil, object{"uid": "a"}, ecKey())} {
		f.Add(raw)
		good[raw] = true
	}
	f.Add("..")
	f.Add(b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"uid":"a"}`)) + ".")
	f.Fuzz(func(t *testing.T, raw string) {
		if p, err := v.Verify(raw); (err == nil) != good[raw] || (p != acl.Principal{}) != good[raw] {
			t.Fatalf("%q: %+v, %v", raw, p, err)
		}
	})
}

// No key set makes the verifier accept a token of a key that is not in it, or
// crash.
func FuzzSetJWKS(f *testing.F) {
	f.Add(jwks(f, rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, object{"kid": "a"})))
	f.Add(jwks(f, ecJWK(f, &newEC(elliptic.P256()).PublicKey, nil), object{"kty": "oct", "k": "AA"}))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`))
	hs := sign(f, jwt.SigningMethodHS256, nil, object{"uid": "a"}, hmacKey)
	rs := rs256(f, nil, object{"uid": "a"}, rsaKeys()[0])
	f.Fuzz(func(t *testing.T, raw []byte) {
		v := newVerifier(t, token.Config{})
		if err := v.SetJWKS(raw); err != nil && !errors.Is(err, token.ErrBadJWKS) {
			t.Fatal(err)
		}
		for _, tok := range []string{hs, rs} {
			if p, err := v.Verify(tok); err == nil {
				t.Fatalf("%q accepts %+v", raw, p)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	claims := object{"uid": "bench-user", "exp": now.Add(time.Hour).Unix()}
	for name, raw := range map[string]string{"HS256": hs256(b, claims), "RS256": rs256(b, object{"kid": "r0"}, claims, rsaKeys()[0])} {
		b.Run(name+"/cached", func(b *testing.B) {
			v := both(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("HS256/new", func(b *testing.B) {
		v := newVerifier(b, token.Config{HMACKey: hmacKey, CacheSize: 1})
		two := []string{hs256(b, object{"uid": "a"}), hs256(b, object{"uid": "b"})}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := v.Verify(two[i%2]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestFingerprintsIdentifyTheKeys, and are what an operator can compute.
func TestFingerprintsIdentifyTheKeys(t *testing.T) {
	v, err := token.New(token.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Fingerprints(); len(got) > 0 {
		t.Errorf("without a key: %q", got)
	}
	key := strings.Repeat("k", token.MinHMACKeyBytes)
	sum := sha256.Sum256([]byte(key))
	if err := v.SetHMACKey([]byte(key)); err != nil {
		t.Fatal(err)
	}
	if got, want := v.Fingerprints(), []string{fmt.Sprintf("HS256:%x", sum[:8])}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
