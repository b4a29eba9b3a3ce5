package authority_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/password"
)

var (
	here    = netip.MustParseAddr("192.0.2.1")
	correct = []byte("correct horse")
)

// signIn signs in from an address that no other sign-in of a test uses.
func signIn(t testing.TB, a *authority.Authority, uid string, pass []byte) (iam.Identity, error) {
	t.Helper()
	return a.SignIn(context.WithoutCancel(t.Context()), uid, pass, here)
}

// serviceKey is a key pair for all tests.
var serviceKey = func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}()

func publicKey(t testing.TB, key *rsa.PrivateKey) iam.Key {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := iam.ParsePublicKey(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func loginToken(t testing.TB, key any, method jwt.SigningMethod, claims jwt.MapClaims) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWrongPasswordsAndAllWhoHaveNoneGetTheSameRefusal(t *testing.T) {
	a := unsealed(t, newCluster().server(), "root:"+cheapHash)
	addUser(t, a, iam.User{UID: "alice", Hash: cheapHash})
	addUser(t, a, iam.User{UID: "gone", Hash: cheapHash})
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("gone") })
	addUser(t, a, iam.User{UID: "service", Keys: []iam.Key{publicKey(t, serviceKey)}})
	addUser(t, a, iam.User{UID: "remote", Hash: cheapHash, Provider: iam.Provider{Type: iam.OIDC, ID: "x"}})
	addUser(t, a, iam.User{UID: "odd", Hash: "$6$rounds=999999999$a$b"})
	for _, uid := range []string{"gone", "service", "remote", "odd", "nobody", "", "anonymous", "a b"} {
		if who, err := signIn(t, a, uid, correct); err != authority.ErrCredentials || who != (iam.Identity{}) {
			t.Errorf("%q: %v, %v", uid, who, err)
		}
	}
	for _, uid := range []string{"alice", "root"} {
		if _, err := signIn(t, a, uid, []byte("wrong")); err != authority.ErrCredentials {
			t.Errorf("%s with a wrong password: %v", uid, err)
		}
		who, err := signIn(t, a, uid, correct)
		d, _ := a.Directory()
		if now, _ := d.Identity(iam.UID(uid)); err != nil || who != now {
			t.Errorf("%s: %v, %v", uid, who, err)
		}
	}
	if in, out := a.SignIns(authority.SignedIn), a.SignIns(authority.Refused); in != 2 || out != 10 {
		t.Errorf("counted: %d, %d", in, out)
	}
}

func TestSealedOnlySuperusersOfTheFileSignIn(t *testing.T) {
	s := newCluster().server()
	a := unsealed(t, s, "root:"+cheapHash)
	addUser(t, a, iam.User{UID: "alice", Hash: cheapHash})
	s.seal()
	if who, err := signIn(t, a, "root", correct); err != nil || who != iam.FileIdentity("root", cheapHash) {
		t.Errorf("root: %v, %v", who, err)
	}
	for uid, pass := range map[string]string{"root": "wrong", "alice": "correct horse", "nobody": "x"} {
		if _, err := signIn(t, a, uid, []byte(pass)); err != errSealed {
			t.Errorf("%s: %v", uid, err)
		}
	}
	if _, err := a.SignInService(t.Context(), "service", "x", here); err != errSealed {
		t.Errorf("service: %v", err)
	}
}

func TestManyFailuresAreLimited(t *testing.T) {
	a := unsealed(t, newCluster().server(), "root:"+cheapHash)
	var tooMany *authority.TooMany
	for range 100 {
		_, err := signIn(t, a, "root", []byte("wrong"))
		if errors.As(err, &tooMany) {
			break
		}
	}
	if tooMany == nil || tooMany.RetryAfter <= 0 {
		t.Fatal("never too many")
	}
	if _, err := signIn(t, a, "root", correct); !errors.As(err, &tooMany) {
		t.Errorf("with the right password: %v", err)
	}
	if _, err := a.SignIn(t.Context(), "root", correct, netip.MustParseAddr("192.0.2.2")); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

func TestAWeakHashIsReplacedAtSignInOnceTheStorageIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		s := c.server()
		a := start(t, s, "")
		s.unseal(0)
		synctest.Wait()
		addUser(t, a, iam.User{UID: "alice", Hash: cheapHash})
		s.leave(errors.New("the storage is away"))
		before, err := signIn(t, a, "alice", correct)
		if err != nil {
			t.Fatal(err)
		}
		hash := func() string {
			d, _ := a.Directory()
			u, _ := d.User("alice")
			return u.Hash
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if hash() != cheapHash {
			t.Fatal("written without a storage")
		}
		s.leave(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if h, err := password.Parse(hash()); err != nil || h.Rounds() != rounds || !h.Matches(correct) {
			t.Errorf("%v", err)
		}
		if d, _ := a.Directory(); true {
			if now, _ := d.Identity("alice"); now != before {
				t.Error("her tokens have ended")
			}
		}
	})
}

func TestNewPasswordsAreHashedIfTheyFollowTheRules(t *testing.T) {
	a := unsealed(t, newCluster().server(), "root:"+cheapHash)
	var refusal *iam.Error
	for _, pass := range []string{"", "abcd", string(make([]byte, password.MaxBytes+1))} {
		if _, err := a.HashPassword(t.Context(), "alice", []byte(pass), here); !errors.As(err, &refusal) || refusal.Code != iam.InvalidData {
			t.Errorf("%d bytes: %v", len(pass), err)
		}
	}
	hash, err := a.HashPassword(t.Context(), "alice", []byte("another horse"), here)
	if err != nil {
		t.Fatal(err)
	}
	addUser(t, a, iam.User{UID: "alice", Hash: hash})
	if _, err := signIn(t, a, "alice", correct); err != authority.ErrCredentials {
		t.Errorf("another password: %v", err)
	}
	if _, err := signIn(t, a, "alice", []byte("another horse")); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestServicesSignInWithTheirKeys(t *testing.T) {
	a := unsealed(t, newCluster().server(), "root:"+cheapHash)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	retired := publicKey(t, other)
	retired.RetireAfter = time.Now().Add(-time.Second)
	addUser(t, a, iam.User{UID: "svc", Keys: []iam.Key{publicKey(t, serviceKey), retired}})
	addUser(t, a, iam.User{UID: "alice", Hash: cheapHash})
	soon := float64(time.Now().Unix()) + 30.5
	rs := jwt.SigningMethodRS256
	for name, row := range map[string]struct {
		uid, token string
		ok         bool
	}{
		"good":              {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "svc", "exp": int64(soon)}), true},
		"a fraction":        {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "svc", "exp": soon}), true},
		"without end":       {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "svc"}), true},
		"expired":           {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "svc", "exp": 1000}), false},
		"text for a date":   {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "svc", "exp": fmt.Sprint(soon)}), false},
		"another uid":       {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "alice", "exp": soon}), false},
		"no uid":            {"svc", loginToken(t, serviceKey, rs, jwt.MapClaims{"exp": soon}), false},
		"a retired key":     {"svc", loginToken(t, other, rs, jwt.MapClaims{"uid": "svc", "exp": soon}), false},
		"another algorithm": {"svc", loginToken(t, serviceKey, jwt.SigningMethodRS512, jwt.MapClaims{"uid": "svc", "exp": soon}), false},
		"the key as HMAC":   {"svc", loginToken(t, []byte(publicKey(t, serviceKey).PEM), jwt.SigningMethodHS256, jwt.MapClaims{"uid": "svc", "exp": soon}), false},
		"none":              {"svc", loginToken(t, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone, jwt.MapClaims{"uid": "svc", "exp": soon}), false},
		"a person":          {"alice", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "alice", "exp": soon}), false},
		"of the file":       {"root", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "root", "exp": soon}), false},
		"nobody":            {"nobody", loginToken(t, serviceKey, rs, jwt.MapClaims{"uid": "nobody", "exp": soon}), false},
		"garbage":           {"svc", "x.y.z", false},
	} {
		who, err := a.SignInService(t.Context(), row.uid, row.token, here)
		if row.ok && (err != nil || who.UID != iam.UID(row.uid)) || !row.ok && err != authority.ErrCredentials {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
}

func TestLastUseIsWrittenOnceAnHourWithoutADirectoryOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, s := start(t, c.server(), ""), c.server()
		b := start(t, s, "")
		c.servers[0].unseal(0)
		synctest.Wait()
		s.unseal(0)
		for i := range 40 {
			addUser(t, a, iam.User{UID: iam.UID(fmt.Sprintf("u%d", i))})
			a.Used(iam.UID(fmt.Sprintf("u%d", i)))
		}
		a.Used("nobody")
		used, writes := time.Now(), c.writes
		before, _ := b.Directory()
		changed := b.Changed()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if c.writes != writes || len(a.LastUses()) != 41 || len(b.LastUses()) != 0 {
			t.Errorf("%d writes within the hour", c.writes-writes)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := c.writes - writes; n < 1 || n > 16 {
			t.Errorf("%d writes", n)
		}
		uses := b.LastUses()
		if at := uses["u7"]; len(uses) != 40 || at.Unix() != used.Unix() {
			t.Errorf("%d uses, u7 at %s", len(uses), at)
		}
		after, _ := b.Directory()
		select {
		case <-changed:
			t.Error("others are woken")
		default:
		}
		if before != after {
			t.Error("there is another directory")
		}
		writes = c.writes
		do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("u7") })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := c.writes - writes; n != 1 {
			t.Errorf("%d writes without any use", n)
		}
	})
}
