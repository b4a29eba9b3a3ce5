package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl"
	"secretstore/acl/token"
)

var (
	taskKey  = []byte("a key for task tokens, of 32 bytes or more")
	errGone  = errors.New("no such term")
	taskTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// taskMAC knows term 3 alone.
func taskMAC(term uint32, message []byte) ([]byte, error) {
	if term != 3 {
		return nil, errGone
	}
	h := hmac.New(sha256.New, taskKey)
	h.Write(message)
	return h.Sum(nil), nil
}

func someTask(t testing.TB) token.Task {
	t.Helper()
	service, err := acl.ParseService("/group/app")
	if err != nil {
		t.Fatal(err)
	}
	return token.Task{ID: strings.Repeat("0a", 16), UID: "dcos_marathon", Service: service, Expires: taskTime.Add(time.Minute), Uses: 2}
}

func signTask(t testing.TB, task token.Task) string {
	t.Helper()
	raw, err := token.SignTask(task, 3, taskMAC)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTaskTokenHoldsWhatWasSigned(t *testing.T) {
	want := someTask(t)
	raw := signTask(t, want)
	if !token.IsTask(raw) {
		t.Fatalf("not recognised: %s", raw)
	}
	got, err := token.VerifyTask(raw, taskTime, taskMAC)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Expires.Equal(want.Expires) {
		t.Errorf("expires %v, want %v", got.Expires, want.Expires)
	}
	got.Expires = want.Expires
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if svc, bound := got.Principal().Service.Get(); !bound || svc != want.Service {
		t.Errorf("the principal is bound to %v %v", svc, bound)
	}
}

// Any JWT library can read what the store signs.
func TestTaskTokenIsAJWT(t *testing.T) {
	parsed, err := jwt.Parse(signTask(t, someTask(t)), func(*jwt.Token) (any, error) { return taskKey, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(func() time.Time { return taskTime }))
	if err != nil || !parsed.Valid {
		t.Fatal(err)
	}
}

func TestTaskTokenIsRefusedOnceExpired(t *testing.T) {
	task := someTask(t)
	raw := signTask(t, task)
	if _, err := token.VerifyTask(raw, task.Expires.Add(-time.Nanosecond), taskMAC); err != nil {
		t.Errorf("just before: %v", err)
	}
	if _, err := token.VerifyTask(raw, task.Expires, taskMAC); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("at the end: %v", err)
	}
}

func TestChangedTaskTokenIsRefused(t *testing.T) {
	raw := signTask(t, someTask(t))
	for i := range raw {
		changed := []byte(raw)
		changed[i] ^= 1
		if _, err := token.VerifyTask(string(changed), taskTime, taskMAC); err == nil {
			t.Fatalf("byte %d changed, and it verifies", i)
		}
	}
}

// The error of the key is passed on: a sealed store is not a bad token.
func TestUnknownTermIsReported(t *testing.T) {
	raw, err := token.SignTask(someTask(t), 4, func(_ uint32, message []byte) ([]byte, error) { return taskMAC(3, message) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.VerifyTask(raw, taskTime, taskMAC); !errors.Is(err, errGone) || errors.Is(err, token.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// A token of the configured HS256 key must not pass for a task token, whatever
// its kid, nor the other way round.
func TestTaskTokensAndOthersDoNotMix(t *testing.T) {
	ordinary := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"uid": "alice", "service": "/x"})
	ordinary.Header["kid"] = "secretstore-task-3"
	raw, err := ordinary.SignedString([]byte("another key, which is long enough to be one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.VerifyTask(raw, taskTime, taskMAC); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("an ordinary token: %v", err)
	}
	v, err := token.New(token.Config{HMACKey: []byte("another key, which is long enough to be one")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(signTask(t, someTask(t))); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a task token as an ordinary one: %v", err)
	}
}

func TestHeaderOfATaskTokenHasOneSpelling(t *testing.T) {
	for _, header := range []string{
		`{"alg":"HS256","kid":"secretstore-task-03","typ":"JWT"}`,
		`{"alg":"HS256","kid":"secretstore-task-3","typ":"JWT" }`,
		`{"alg":"none","kid":"secretstore-task-3","typ":"JWT"}`,
		`{"alg":"HS256","kid":"secretstore-task--3","typ":"JWT"}`,
		`{"alg":"HS256","kid":"secretstore-task-4294967299","typ":"JWT"}`,
		`{"alg":"HS256","kid":"secretstore-task-3","typ":"JWT","crit":["x"]}`,
	} {
		_, rest, _ := strings.Cut(signTask(t, someTask(t)), ".")
		payload, _, _ := strings.Cut(rest, ".")
		message := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload
		sum, _ := taskMAC(3, []byte(message))
		raw := message + "." + base64.RawURLEncoding.EncodeToString(sum)
		if _, err := token.VerifyTask(raw, taskTime, taskMAC); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v", header, err)
		}
	}
}

func TestTaskThatWouldNotVerifyIsNotSigned(t *testing.T) {
	for name, change := range map[string]func(*token.Task){
		"id":       func(k *token.Task) { k.ID = "short" },
		"id case":  func(k *token.Task) { k.ID = strings.Repeat("0A", 16) },
		"uid":      func(k *token.Task) { k.UID = "" },
		"uses":     func(k *token.Task) { k.Uses = -1 },
		"too many": func(k *token.Task) { k.Uses = token.MaxTaskUses + 1 },
		"expires":  func(k *token.Task) { k.Expires = time.Time{} },
	} {
		task := someTask(t)
		change(&task)
		if _, err := token.SignTask(task, 3, taskMAC); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// FuzzTaskToken: whatever is sent, only what was signed verifies.
func FuzzTaskToken(f *testing.F) {
	genuine := signTask(f, someTask(f))
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := token.VerifyTask(raw, taskTime, taskMAC)
		if err == nil && raw != genuine {
			t.Fatalf("%q verifies as %+v", raw, got)
		}
		if err != nil && got != (token.Task{}) {
			t.Fatalf("an error and %+v", got)
		}
	})
}
