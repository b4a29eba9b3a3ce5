package tokens_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl/token"
	"secretstore/iam"
	"secretstore/iam/tokens"
)

func parts(t *testing.T, raw string) (header, claims map[string]any) {
	t.Helper()
	split := strings.Split(raw, ".")
	if len(split) != 3 {
		t.Fatal("not three parts")
	}
	for i, to := range []*map[string]any{&header, &claims} {
		plain, err := base64.RawURLEncoding.DecodeString(split[i])
		if err != nil || json.Unmarshal(plain, to) != nil {
			t.Fatal("not JSON in base64url")
		}
	}
	return header, claims
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// The form of the tokens and of the key set is that of DC/OS.
func TestTokensAndKeySetHaveTheFormOfDCOS(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw, expires, err := s.Issue(t.Context(), who, time.Time{})
	if err != nil || !expires.Equal(c.now.Add(5*24*time.Hour)) {
		t.Fatal(expires, err)
	}
	header, claims := parts(t, raw)
	if header["typ"] != "JWT" || header["alg"] != "RS256" || len(header) != 3 {
		t.Errorf("header %v", header)
	}
	want := map[string]any{"uid": "alice", "exp": float64(expires.Unix()), "iat": float64(c.now.Unix()), "gen": fmt.Sprintf("%x", who.Generation[:])}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	set, err := s.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Keys []map[string]string }
	if err := json.Unmarshal(set, &doc); err != nil || len(doc.Keys) != 1 {
		t.Fatalf("%s", set)
	}
	k := doc.Keys[0]
	n, err1 := base64.RawURLEncoding.DecodeString(k["n"])
	e, err2 := base64.RawURLEncoding.DecodeString(k["e"])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(new(big.Int).SetBytes(e).String() + new(big.Int).SetBytes(n).String() + "RSA"))
	if len(k) != 6 || k["kty"] != "RSA" || k["alg"] != "RS256" || k["use"] != "sig" || k["kid"] != fmt.Sprintf("%x", sum) || k["kid"] != header["kid"] {
		t.Errorf("key %v", k)
	}
	// Any verifier of key sets takes it.
	v, err := token.New(token.Config{JWKS: set, Now: c.time})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := v.Verify(raw); err != nil || p.UID != "alice" {
		t.Error(err)
	}
}

func TestLifetimeOfATokenIsBounded(t *testing.T) {
	c := newCluster(t)
	s := c.server(false, func(cfg *tokens.Config) { cfg.Lifetime = time.Hour })
	who := c.user("alice")
	for until, want := range map[time.Time]time.Duration{
		{}:                          time.Hour,
		c.now.Add(time.Minute):      time.Minute,
		c.now.Add(1000 * time.Hour): time.Hour,
		time.Unix(math.MaxInt64, 0): time.Hour,
	} {
		raw, expires, err := s.Issue(t.Context(), who, until)
		if err != nil || expires.Sub(c.now) != want {
			t.Errorf("until %v: %v, %v", until, expires, err)
		}
		s.good("a new token", raw, who)
	}
	raw := s.issue(who)
	c.wait(time.Hour + token.Leeway)
	s.refused("an expired token", raw)
}

// A token that was verified before is remembered; it ends all the same.
func TestAccountThatChangesEndsItsTokensOnEveryServer(t *testing.T) {
	hash := "another hash"
	for name, change := range map[string]func(*iam.Directory) (iam.Change, error){
		"deleted":      func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("alice") },
		"new password": func(d *iam.Directory) (iam.Change, error) { return d.UpdateUser("alice", iam.UserUpdate{Hash: &hash}) },
		"revoked":      func(d *iam.Directory) (iam.Change, error) { return d.RevokeTokens("alice") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			a, b := c.server(false), c.server(false)
			c.user("alice")
			bob := c.user("bob")
			c.change(func(d *iam.Directory) (iam.Change, error) {
				return d.UpdateUser("alice", iam.UserUpdate{Hash: &hash})
			})
			alice, _ := c.dir.Identity("alice")
			raw, other := a.issue(alice), a.issue(bob)
			a.good("on A", raw, alice)
			b.good("on B", raw, alice)
			c.change(change)
			a.refused("on A, afterwards", raw)
			b.refused("on B, afterwards", raw)
			b.good("another account", other, bob)
			if _, _, err := a.Issue(t.Context(), alice, time.Time{}); !errors.Is(err, tokens.ErrStale) {
				t.Errorf("a sign-in that began before: %v", err)
			}
			if name != "deleted" {
				return
			}
			again := c.user("alice")
			a.refused("of the account before", raw)
			a.good("of the new account", a.issue(again), again)
		})
	}
}

// The change with the account may reach a server after a token of it.
func TestTokenOfAnAccountThatAnotherServerHasJustMadeWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.server(false), c.server(false)
		bob := c.user("bob")
		b.good("on A and B", a.issue(bob), bob)
		b.set(func(s *server) { s.behind = c.dir })
		alice := c.user("alice")
		raw := a.issue(alice)
		answer := make(chan error, 1)
		go func() {
			_, err := b.Verify(raw)
			answer <- err
		}()
		synctest.Wait()
		select {
		case err := <-answer:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		b.set(func(s *server) { s.behind = nil })
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyATokenOfAnAccountThatWasNeverKnownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.server(false), c.server(false)
		took := func(what, raw string, want time.Duration) {
			t.Helper()
			began := time.Now()
			b.refused(what, raw)
			if d := time.Since(began); d != want {
				t.Errorf("%s: refused after %v, want %v", what, d, want)
			}
		}
		raw := a.issue(c.user("alice"))
		c.change(func(d *iam.Directory) (iam.Change, error) { return d.RevokeTokens("alice") })
		took("revoked", raw, 0)
		c.change(func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("alice") })
		took("deleted", raw, 0)
		b.set(func(s *server) { s.behind = c.dir })
		raw = a.issue(c.user("carol"))
		took("never known", raw, time.Second)
		took("forged", raw[:len(raw)-4]+"AAAA", 0)
		b.seal()
		b.unchecked("sealed", raw, errSealed)
	})
}

func TestChangesThatEndNoToken(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw := s.issue(who)
	text := "text"
	c.change(func(d *iam.Directory) (iam.Change, error) {
		return d.UpdateUser("alice", iam.UserUpdate{Description: &text})
	})
	c.change(func(d *iam.Directory) (iam.Change, error) { return d.Rehash("alice", "", "hash") })
	s.good("described and rehashed", raw, who)
}

func TestNewKeyIsAnnouncedBeforeItSigns(t *testing.T) {
	c := newCluster(t)
	a, b := c.server(false), c.server(false)
	who := c.user("alice")
	old := a.issue(who)
	first, _ := parts(t, old)
	keySet := func(s *server) (kids []string) {
		set, err := s.JWKS()
		var doc struct{ Keys []struct{ Kid string } }
		if err != nil || json.Unmarshal(set, &doc) != nil {
			t.Fatalf("%s, %v", set, err)
		}
		for _, k := range doc.Keys {
			kids = append(kids, k.Kid)
		}
		return kids
	}
	signs := func(s *server) any {
		header, _ := parts(t, s.issue(who))
		return header["kid"]
	}
	if kids := keySet(b); len(kids) != 1 || kids[0] != first["kid"] || signs(b) != kids[0] {
		t.Fatalf("two servers have not the same first key: %v", kids)
	}
	c.wait(time.Hour)
	if err := a.RotateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*server{a, b} {
		if kids := keySet(s); len(kids) != 2 || kids[1] != first["kid"] || signs(s) != first["kid"] {
			t.Errorf("a new key is announced: %v", kids)
		}
	}
	c.wait(time.Minute)
	last := a.issue(who)
	for _, s := range []*server{a, b} {
		if kids := keySet(s); signs(s) != kids[0] {
			t.Error("it does not sign after a minute")
		}
		s.good("of the old key", old, who)
		s.good("of the new key", last, who)
	}
	c.wait(tokens.DefaultLifetime)
	b.good("the last of the old key has ended, not that of the new key", last, who)
	c.wait(10 * time.Minute)
	if kids := keySet(b); len(kids) != 1 || kids[0] == first["kid"] {
		t.Errorf("the old key is still announced: %v", kids)
	}
	b.refused("of a key that is retired", old)
	b.good("a later one", b.issue(who), who)
	if err := a.RotateKey(t.Context()); err != nil || c.keys() != 2 {
		t.Errorf("%d records, %v: the retired key is still stored", c.keys(), err)
	}
}

func TestKeysAreBounded(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw := s.issue(who)
	var err error
	n := 0
	for ; err == nil && n < 40; n++ {
		err = s.RotateKey(t.Context())
	}
	if !errors.Is(err, tokens.ErrTooManyKeys) {
		t.Fatalf("after %d: %v", n, err)
	}
	s.good("after many rotations", raw, who)
}

func TestFirstKeyIsMadeOnceAndRetried(t *testing.T) {
	c := newCluster(t)
	s := c.server(true)
	who := c.user("alice")
	s.set(func(s *server) { s.failing = errors.New("the storage is away") })
	s.unseal()
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := s.Issue(short, who, time.Time{}); !errors.Is(err, iam.ErrNotLoaded) {
		t.Errorf("without a key: %v", err)
	}
	s.set(func(s *server) { s.failing = nil })
	raw := s.issue(who) // waits
	for range 3 {
		c.server(false).good("on another server", raw, who)
	}
	if n := c.keys(); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// A 401 would make clients throw away a good token.
func TestTokenThatCannotBeCheckedIsNotRefused(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw := s.issue(who)
	s.good("before", raw, who)
	s.seal()
	s.unchecked("sealed", raw, errSealed)
	fresh := c.server(true)
	fresh.unchecked("on a server that never was unsealed", raw, errSealed)
	for _, state := range []error{iam.ErrNotLoaded, errors.New("the storage has been away for too long")} {
		s.set(func(s *server) { s.sealed, s.away = false, state })
		s.unchecked(state.Error(), raw, state)
		if _, err := s.JWKS(); !errors.Is(err, state) {
			t.Errorf("key set: %v", err)
		}
		if _, _, err := s.Issue(t.Context(), who, time.Time{}); !errors.Is(err, state) {
			t.Errorf("sign-in: %v", err)
		}
	}
	s.refused("what does not look like ours", "a.b.c")
	s.refused("ours in the header only", raw[:strings.IndexByte(raw, '.')]+"."+b64([]byte(`{"uid":"alice"}`))+".AA")
	s.unseal()
	s.good("unsealed", raw, who)
}

// The storage may go away without a change: nothing says then when it is back.
func TestTokensAreGoodAgainWhenTheStorageIsBack(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw := s.issue(who)
	away := errors.New("away")
	c.user("bob") // so that the keys are looked at again while it is away
	set := func(err error) { c.mu.Lock(); defer c.mu.Unlock(); s.away = err }
	set(away)
	s.unchecked("away", raw, away)
	set(nil)
	s.good("back", raw, who)
}

func TestForeignTokensDoNotStandForAccounts(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	lax := c.server(false, func(cfg *tokens.Config) { cfg.ForeignForAccounts = true })
	carol := iam.Identity{UID: "carol"}
	s.good("a uid without an account", "for carol", carol)
	alice := c.user("alice")
	s.refused("a uid with an account", "for alice")
	lax.good("allowed", "for alice", alice)
	c.change(func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("alice") })
	s.refused("a uid that had an account", "for alice")
	lax.good("allowed, deleted", "for alice", alice)

	admin := iam.FileIdentity("admin", "hash")
	s.set(func(s *server) { s.file = s.file.WithBootstrap(admin) })
	s.seal()
	s.good("sealed", "for carol", carol)
	s.refused("sealed, for a superuser of the file", "for admin")
	for _, err := range []error{iam.ErrNotLoaded, errors.New("away")} {
		s.set(func(s *server) { s.sealed, s.away = false, err })
		s.unchecked(err.Error(), "for carol", err)
		if err2 := s.CheckForeign("carol"); !errors.Is(err2, err) {
			t.Errorf("a certificate: %v", err2)
		}
	}
}

func TestMinterOfATaskTokenMustBeTheSameAccount(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	generation := func(uid string) string {
		g, err := s.MinterGeneration(uid)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	check := func(what, uid, generation string, good bool) {
		t.Helper()
		if err := s.CheckMinter(uid, generation); (err == nil) != good || err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	none := generation("marathon")
	check("never an account", "marathon", none, true)
	c.user("marathon")
	check("an account was made meanwhile", "marathon", none, false)
	old := generation("marathon")
	check("the same account", "marathon", old, true)
	c.change(func(d *iam.Directory) (iam.Change, error) { return d.RevokeTokens("marathon") })
	check("its tokens were revoked", "marathon", old, false)
	old = generation("marathon")
	c.change(func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("marathon") })
	check("it was deleted", "marathon", old, false)
	check("it was deleted, and the token names no generation", "marathon", "", false)
	if _, err := s.MinterGeneration("marathon"); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a deleted account makes task tokens: %v", err)
	}
	c.user("marathon")
	check("it was made again", "marathon", old, false)
	s.seal()
	if err := s.CheckMinter("marathon", old); !errors.Is(err, errSealed) {
		t.Errorf("sealed: %v", err)
	}
}

func TestSuperuserOfTheFileSignsInWhileSealed(t *testing.T) {
	c := newCluster(t)
	s, other := c.server(true), c.server(true)
	admin := iam.FileIdentity("admin", "hash")
	s.name(admin)
	other.name(admin)
	alice := c.user("alice")

	if _, _, err := s.Issue(t.Context(), alice, time.Time{}); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("an account of the storage: %v", err)
	}
	if _, _, err := s.Issue(t.Context(), iam.FileIdentity("admin", "other"), time.Time{}); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("another hash: %v", err)
	}
	emergency := func(what, raw string) {
		t.Helper()
		if p, err := s.Verify(raw); err != nil || p.UID != "admin" || !p.Emergency || p.Expires.Sub(c.time()) > 10*time.Minute {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	raw := s.issue(admin)
	emergency("sealed", raw)
	other.unchecked("on another server", raw, errSealed)
	c.wait(10*time.Minute - time.Second)
	emergency("after nearly ten minutes", raw)
	c.wait(time.Second)
	s.refused("after ten minutes", raw)

	raw = s.issue(admin)
	s.name()
	s.refused("the file names it no more", raw)
	s.name(admin)
	s.refused("the file names it again", raw)

	raw = s.issue(admin)
	emergency("again", raw)
	s.seal() // the end of the identities, after a seal
	emergency("forgotten", raw)
	s.unseal()
	s.refused("unsealed", raw)
	s.seal()
	s.refused("sealed again", raw)
	raw = s.issue(admin)
	emergency("another one", raw)
	s.unseal(iam.ErrNotLoaded)
	s.seal()
	s.refused("unsealed and sealed again before the identities were loaded", raw)
	if kids := c.keys(); kids > 1 {
		t.Errorf("%d keys are stored: that of the process is among them", kids)
	}
}

// sign signs a token with any header.
func sign(t *testing.T, header, claims string, key *rsa.PrivateKey) string {
	t.Helper()
	message := b64([]byte(header)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(message))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return message + "." + b64(signature)
}

// storedKey returns the private key of the only record: an attacker who had it
// could sign what they like, so it shows that other defenses hold.
func (c *cluster) storedKey() *rsa.PrivateKey {
	c.t.Helper()
	for _, record := range c.records {
		var s struct{ Private []byte }
		if err := json.Unmarshal(record[1:], &s); err != nil {
			c.t.Fatal(err)
		}
		key, err := x509.ParsePKCS8PrivateKey(s.Private)
		if err != nil {
			c.t.Fatal(err)
		}
		return key.(*rsa.PrivateKey)
	}
	c.t.Fatal("no key")
	return nil
}

func TestForgedTokensAreRefused(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	good := s.issue(who)
	header, _ := parts(t, good)
	kid := header["kid"].(string)
	own := c.storedKey()
	gen := fmt.Sprintf("%x", who.Generation[:])
	split := strings.Split(good, ".")
	exp := c.now.Add(time.Hour).Unix()
	claims := fmt.Sprintf(`{"exp":%d,"gen":"%s","iat":1,"uid":"alice"}`, exp, gen)
	plain := fmt.Sprintf(`{"alg":"RS256","kid":"%s","typ":"JWT"}`, kid)
	withKid := func(kid string) string { return fmt.Sprintf(`{"alg":"RS256","kid":"%s","typ":"JWT"}`, kid) }
	s.good("the form that the others are made of", sign(t, plain, claims, own), who)

	elsewhere := newCluster(t)
	otherStore := elsewhere.server(false)
	same := elsewhere.user("alice")
	fromElsewhere := otherStore.issue(same)
	otherHeader, _ := parts(t, fromElsewhere)
	otherKid, otherKey := otherHeader["kid"].(string), elsewhere.storedKey()

	der, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(header string, key []byte) string {
		message := b64([]byte(header)) + "." + split[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(message))
		return message + "." + b64(mac.Sum(nil))
	}
	jwk := fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"AQAB"}`, b64(otherKey.N.Bytes()))
	change := func(old, replacement string) string {
		return sign(t, plain, strings.Replace(claims, old, replacement, 1), own)
	}
	for name, raw := range map[string]string{
		"alg none":                   b64([]byte(`{"alg":"none","kid":"`+kid+`","typ":"JWT"}`)) + "." + split[1] + ".",
		"alg none, our header":       split[0] + "." + split[1] + ".",
		"HS256 with the public PEM":  hs256(`{"alg":"HS256","kid":"`+kid+`","typ":"JWT"}`, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 with the public DER":  hs256(`{"alg":"HS256","kid":"`+kid+`","typ":"JWT"}`, der),
		"HS256 with the modulus":     hs256(`{"alg":"HS256","kid":"`+kid+`","typ":"JWT"}`, own.N.Bytes()),
		"embedded jwk":               sign(t, `{"alg":"RS256","jwk":`+jwk+`,"kid":"`+kid+`","typ":"JWT"}`, claims, otherKey),
		"embedded jwk, our key":      sign(t, `{"alg":"RS256","jwk":`+jwk+`,"kid":"`+kid+`","typ":"JWT"}`, claims, own),
		"jku":                        sign(t, `{"alg":"RS256","jku":"https://127.0.0.1/","kid":"`+kid+`","typ":"JWT"}`, claims, otherKey),
		"x5c":                        sign(t, `{"alg":"RS256","kid":"`+kid+`","typ":"JWT","x5c":["AA"]}`, claims, otherKey),
		"kid that is a path":         sign(t, withKid("../.."), claims, own),
		"kid that is a path, padded": sign(t, withKid(strings.Repeat("../..", 13)[:64]), claims, own),
		"no kid":                     sign(t, `{"alg":"RS256","typ":"JWT"}`, claims, own),
		"kid in capitals":            sign(t, withKid(strings.ToUpper(kid)), claims, own),
		"another order":              sign(t, `{"kid":"`+kid+`","alg":"RS256","typ":"JWT"}`, claims, own),
		"another store's token":      fromElsewhere,
		"another store's id of key":  sign(t, withKid(otherKid), claims, own),
		"another store's key":        sign(t, plain, claims, otherKey),
		"signature of another":       split[0] + "." + b64([]byte(strings.Replace(claims, "alice", "admin", 1))) + "." + split[2],
		"exp as a string":            change(fmt.Sprint(exp), fmt.Sprintf(`"%d"`, exp)),
		"exp NaN":                    change(fmt.Sprint(exp), "NaN"),
		"exp null":                   change(fmt.Sprint(exp), "null"),
		"exp negative":               change(fmt.Sprint(exp), "-1"),
		"exp beyond all":             change(fmt.Sprint(exp), "1e308"),
		"exp missing":                change(fmt.Sprintf(`"exp":%d,`, exp), ""),
		"exp over":                   change(fmt.Sprint(exp), fmt.Sprint(c.now.Add(-time.Hour).Unix())),
		"nbf in the future":          change(`"iat":1`, fmt.Sprintf(`"nbf":%d`, c.now.Add(time.Hour).Unix())),
		"gen missing":                change(`"gen":"`+gen+`",`, ""),
		"gen of zeros":               change(gen, strings.Repeat("0", 32)),
		"gen as a list":              change(`"`+gen+`"`, `["`+gen+`"]`),
		"gen in capitals":            change(gen, strings.ToUpper(gen[:31])+"F"),
		"uid of nobody":              change("alice", "mallory"),
		"uid of other case":          change("alice", "Alice"),
		"uid twice":                  change(`"uid":"alice"`, `"uid":"alice","uid":"alice"`),
		"gen twice":                  change(`"iat":1`, `"gen":"`+gen+`"`),
		"a mebibyte":                 sign(t, plain, strings.Replace(claims, `"iat":1`, `"x":"`+strings.Repeat("x", 1<<20)+`"`, 1), own),
		"an opened header":           good[:10] + "=" + good[11:],
		"a line break":               good[:200] + "\n" + good[200:],
		"four parts":                 good + ".AA",
		"empty":                      "",
		"dots":                       strings.Repeat(".", 1<<20),
	} {
		s.refused(name, raw)
		s.refused(name+", again", raw)
		if _, err := s.Verify(raw); raw != "" && len(raw) > 20 && strings.Contains(err.Error(), raw[:20]) {
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	s.good("exp with a fraction", change(fmt.Sprint(exp), fmt.Sprintf("%d.25", exp)), who)
	s.good("afterwards", good, who)
}

// Whoever puts a record into another place, or half of one, makes no key of it.
func TestBadRecordsOfKeysAreLeftOut(t *testing.T) {
	c := newCluster(t)
	s := c.server(false)
	who := c.user("alice")
	raw := s.issue(who)
	var record []byte
	for _, r := range c.records {
		record = r
	}
	c.mu.Lock()
	for name, bad := range map[string][]byte{
		"key/":                             record,
		"key/" + strings.Repeat("a", 64):   record,
		"key/" + strings.Repeat("b", 64):   nil,
		"key/" + strings.Repeat("c", 64):   {1},
		"key/" + strings.Repeat("d", 64):   append([]byte{2}, record[1:]...),
		"key/" + strings.Repeat("e", 64):   record[:len(record)/2],
		"key/" + strings.Repeat("f", 64):   []byte("\x01{}"),
		"key/" + strings.Repeat("../", 20): slices.Clone(record),
	} {
		c.records[name] = bad
	}
	c.wake()
	c.mu.Unlock()
	s.good("among bad records", raw, who)
	set, err := s.JWKS()
	if err != nil || strings.Count(string(set), `"kid"`) != 1 {
		t.Errorf("%s, %v", set, err)
	}
}

func FuzzVerify(f *testing.F) {
	c := newCluster(&testing.T{})
	s := &server{c: c, changed: make(chan struct{}), file: &iam.Directory{}}
	s.Tokens = tokens.New(tokens.Config{Authority: s, Foreign: foreign{}, Sealed: func() (bool, uint64) { return false, 1 }, Now: c.time})
	c.servers = append(c.servers, s)
	who := iam.Identity{UID: "alice"}
	c.dir = c.dir.WithBootstrap(who)
	if err := s.RotateKey(f.Context()); err != nil {
		f.Fatal(err)
	}
	good, _, err := s.Issue(f.Context(), who, time.Time{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := s.Verify(raw)
		if raw == good || strings.HasPrefix(raw, "for ") {
			return
		}
		if err == nil || p.UID != "" {
			t.Errorf("%q is good for %q", raw, p.UID)
		}
		if id, ok := token.AccountKeyID(raw); ok && len(id) != 64 || token.IsAccount(raw) && !ok {
			t.Errorf("%q has the key id %q", raw, id)
		}
	})
}

// TestTokensFromBeforeARestoreAreRefused: the accounts and the keys are as they were,
// but the store is another incarnation.
func TestTokensFromBeforeARestoreAreRefused(t *testing.T) {
	c := newCluster(t)
	var incarnation atomic.Value
	incarnation.Store("")
	of := func(cfg *tokens.Config) {
		cfg.Incarnation = func() (string, error) { return incarnation.Load().(string), nil }
	}
	servers := []*server{c.server(false, of), c.server(false, of)}
	alice := c.user("alice")
	first := servers[0].issue(alice)
	for _, s := range servers {
		s.good("before the restore", first, alice)
		s.seal()
	}
	incarnation.Store("2")
	for _, s := range servers {
		s.unseal()
	}
	second := servers[1].issue(alice)
	for _, s := range servers {
		s.refused("a token of before", first)
		s.good("a token of now", second, alice)
	}
	if n := c.keys(); n != 1 {
		t.Errorf("%d keys are stored, not only the new one", n)
	}
	set, err := servers[0].JWKS()
	if err != nil || bytes.Contains(set, []byte(kidOf(t, first))) {
		t.Errorf("the key set has the key of before: %v", err)
	}
}

// kidOf returns the id of the key that a token names.
func kidOf(t *testing.T, raw string) string {
	t.Helper()
	id, ok := token.AccountKeyID(raw)
	if !ok {
		t.Fatal("not a token of an account")
	}
	return id
}

// BenchmarkVerify verifies a token that was verified before, as those of most requests
// were.
func BenchmarkVerify(b *testing.B) {
	c := newCluster(b)
	s := c.server(false)
	raw := s.issue(c.user("alice"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}
