package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl/token"
	"secretstore/api/wire"
)

// signInServer has one user, alice with the password "right horse", and one secret that
// only its token reads.
type signInServer struct {
	*httptest.Server
	token   string
	service *rsa.PublicKey    // of the account app
	flow    string            // where a login with a browser starts
	sent    map[string]string // the Authorization of the last request to each path
}

func newSignInServer(t *testing.T, until time.Time) *signInServer {
	t.Helper()
	raw, err := token.Sign("alice", until, "", []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := &signInServer{token: raw, sent: map[string]string{}, flow: "/acs/api/v1/auth/login?oidc-provider=corp"}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *signInServer) answer(w http.ResponseWriter, r *http.Request) {
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/store")
	s.sent[r.URL.Path] = r.Header.Get("Authorization")
	mine := r.Header.Get("Authorization") == "token="+s.token
	switch {
	case r.URL.Path == "/acs/api/v1/auth/login":
		var doc wire.Login
		body, _ := io.ReadAll(r.Body) // a part does not parse
		if json.Unmarshal(body, &doc) != nil || doc.UID == nil || !s.accepts(doc) {
			refuse(w, 401, "Invalid credentials.", "ERR_INVALID_CREDENTIALS")
			return
		}
		fmt.Fprintf(w, `{"token":%q}`, s.token)
	case r.URL.Path == "/acs/api/v1/auth/providers":
		fmt.Fprintf(w, `{"corp":{"client-method":"browser-prompt-authtoken","config":{"start_flow_url":%q}}}`, s.flow)
	case !mine:
		refuse(w, 401, "no valid authentication token: send it", "")
	case r.URL.Path == "/acs/api/v1/users/alice/groups":
		fmt.Fprint(w, `{"array":[{"group":{"gid":"admins"}}]}`)
	default:
		w.Header().Set("Content-Type", wire.TypeJSON)
		fmt.Fprint(w, `{"value":"s3cret"}`)
	}
}

func (s *signInServer) accepts(doc wire.Login) bool {
	if doc.Password != nil {
		return *doc.UID == "alice" && string(doc.Password) == "right horse"
	}
	if s.service == nil || *doc.UID != "app" {
		return false
	}
	parsed, err := jwt.Parse(string(doc.Token), func(*jwt.Token) (any, error) { return s.service, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired())
	return err == nil && parsed.Claims.(jwt.MapClaims)["uid"] == "app"
}

func refuse(w http.ResponseWriter, status int, text, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"title":"%d %s","description":%q,"code":%q}`, status, http.StatusText(status), text, code)
}

// tokenFiles returns the files below the folder of tokens.
func tokenFiles(t *testing.T, home string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(home, ".config/secretstore/tokens/*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLoginKeepsATokenThatOtherCommandsUse(t *testing.T) {
	s, other := newSignInServer(t, time.Now().Add(time.Hour)), newSignInServer(t, time.Now().Add(2*time.Hour))
	home := t.TempDir()
	env := map[string]string{"HOME": home, "SECRETSTORE_SERVER": s.URL}
	if got := call(env, "wrong\n", "login", "alice"); got.status != 4 || strings.Contains(got.stderr, "--token-file") || len(tokenFiles(t, home)) != 0 {
		t.Errorf("with a wrong password: %+v", got)
	}
	got := call(env, "right horse\n", "login", "alice")
	files := tokenFiles(t, home)
	if got.status != 0 || !strings.Contains(got.stderr, "signed in as alice") || strings.Contains(got.stderr+got.stdout, s.token) || len(files) != 1 {
		t.Fatalf("%+v, files %q", got, files)
	}
	for path, mode := range map[string]os.FileMode{files[0]: 0o600, filepath.Dir(files[0]): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if got := call(env, "", "get", "a"); got.stdout != "s3cret" {
		t.Errorf("get: %+v", got)
	}
	if got := call(env, "", "get", "a", "--server", strings.ToUpper(s.URL[:4])+s.URL[4:]+"/secrets/v1/"); got.stdout != "s3cret" {
		t.Errorf("the same server, spelled otherwise: %+v", got)
	}
	if got := call(env, "", "whoami", "--json"); got.status != 0 || !strings.Contains(got.stdout, `"uid": "alice"`) || !strings.Contains(got.stdout, "admins") {
		t.Errorf("whoami: %+v", got)
	}
	// Neither another server nor a request with another token gets this one.
	if got := call(env, "", "get", "a", "--server", other.URL); got.status != 4 || other.sent["/secrets/v1/secret/default/a"] != "" {
		t.Errorf("another server: %+v, sent %q", got, other.sent)
	}
	env["SECRETSTORE_TOKEN"] = other.token
	if got := call(env, "", "get", "a"); got.status != 4 || s.sent["/secrets/v1/secret/default/a"] != "token="+other.token {
		t.Errorf("the environment did not precede: %+v", got)
	}
	if got := call(env, "right horse", "login", "alice"); got.status != 0 || !strings.Contains(got.stderr, "SECRETSTORE_TOKEN takes precedence") {
		t.Errorf("login beside a token in the environment: %+v", got)
	}
	delete(env, "SECRETSTORE_TOKEN")
	if got := call(env, "", "logout"); got.status != 0 || len(tokenFiles(t, home)) != 0 {
		t.Errorf("logout: %+v", got)
	}
	if got := call(env, "", "whoami"); got.status != 4 || !strings.Contains(got.stderr, "secretstore login") {
		t.Errorf("whoami after it: %+v", got)
	}
}

func TestLoginIsKeptForEachNamedServer(t *testing.T) {
	s, home := newSignInServer(t, time.Now().Add(time.Hour)), t.TempDir()
	down := "http://127.0.0.1:1"
	env := map[string]string{"HOME": home, "SECRETSTORE_SERVER": down + "," + s.URL}
	if got := call(env, "right horse\n", "login", "alice"); got.status != 0 || len(tokenFiles(t, home)) != 2 {
		t.Fatalf("%+v", got)
	}
	if got := call(env, "", "get", "a", "--server", s.URL); got.stdout != "s3cret" {
		t.Errorf("%+v", got)
	}
}

func TestTokenFileThatOthersCanReadOrChangeIsRefused(t *testing.T) {
	s, home := newSignInServer(t, time.Now().Add(time.Hour)), t.TempDir()
	env := map[string]string{"HOME": home, "SECRETSTORE_SERVER": s.URL}
	for name, spoil := range map[string]func(file string) error{
		"readable": func(file string) error { return os.Chmod(file, 0o644) },
		"link": func(file string) error {
			if err := os.Rename(file, file+".moved"); err != nil {
				return err
			}
			return os.Symlink(file+".moved", file)
		},
		"other content": func(file string) error { return os.WriteFile(file, []byte("hunter2"), 0o600) },
	} {
		if got := call(env, "right horse\n", "login", "alice"); got.status != 0 {
			t.Fatalf("%s: %+v", name, got)
		}
		file := tokenFiles(t, home)[0]
		if err := spoil(file); err != nil {
			t.Fatal(err)
		}
		got := call(env, "", "get", "a")
		if got.status != 2 || !strings.Contains(got.stderr, file) || !strings.Contains(got.stderr, "secretstore login") || strings.Contains(got.stderr, "hunter2") {
			t.Errorf("%s: %+v", name, got)
		}
		if got := call(env, "", "logout"); got.status != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		_ = os.Remove(file + ".moved") // of one of the cases
	}
}

func TestLoginThatEndedOrIsNotAcceptedIsExplained(t *testing.T) {
	for want, until := range map[string]time.Time{"your login ended at ": time.Now().Add(-time.Minute), "revoked": time.Now().Add(time.Hour)} {
		s := newSignInServer(t, until)
		env := map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}
		if got := call(env, "right horse\n", "login", "alice"); got.status != 0 {
			t.Fatalf("%+v", got)
		}
		s.token = "another"
		got := call(env, "", "get", "a")
		if got.status != 4 || !strings.Contains(got.stderr, want) || !strings.Contains(got.stderr, "Sign in again with: secretstore login") {
			t.Errorf("%s: %+v", want, got)
		}
	}
}

func TestServiceSignsInWithItsKeyOrItsSecret(t *testing.T) {
	s, dir := newSignInServer(t, time.Now().Add(time.Hour)), t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.service = &key.PublicKey
	text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	secret, err := json.Marshal(map[string]string{"uid": "app", "private_key": text})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"key": text, "secret": string(secret)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}
		if got := call(env, "", "login", "--service-account", "app", "--key-file", file); got.status != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		if got := call(env, "", "login", "--service-account", "other", "--key-file", file); got.status != 4 {
			t.Errorf("%s of another account: %+v", name, got)
		}
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("horse"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := call(nil, "", "login", "--service-account", "app", "--key-file", other, "--server", s.URL); got.status != 2 || !strings.Contains(got.stderr, "is not an RSA private key") {
		t.Errorf("a file without a key: %+v", got)
	}
}

func TestPrivateKeyThatOthersCanReadIsRefused(t *testing.T) {
	s, dir := newSignInServer(t, time.Now().Add(time.Hour)), t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.service = &key.PublicKey
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	file := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o400: 0, 0o640: 2, 0o604: 2, 0o644: 2, 0o622: 2} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		got := call(env, "", "login", "--service-account", "app", "--key-file", file)
		if got.status != want || want != 0 && !strings.Contains(got.stderr, "run: chmod ") {
			t.Errorf("%v: %+v", mode, got)
		}
		if got := call(env, "", "sa", "create", "x", "--key-file", file); want != 0 && got.status != want {
			t.Errorf("sa create, %v: %+v", mode, got)
		}
	}
	// What a program writes to standard input is in no file.
	if got := call(env, string(text), "login", "--service-account", "app", "--key-file", "-"); got.status != 0 {
		t.Errorf("standard input: %+v", got)
	}
}

func TestLoginWithABrowserTakesThePastedToken(t *testing.T) {
	t.Setenv("PATH", "") // without a browser
	s := newSignInServer(t, time.Now().Add(time.Hour))
	env := map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}
	got := call(env, s.token+"\n", "login", "--oidc")
	if got.status != 0 || !strings.Contains(got.stderr, s.URL+s.flow) {
		t.Errorf("%+v", got)
	}
	// A proxy has the server below a prefix.
	env["SECRETSTORE_SERVER"] = s.URL + "/store/"
	if got := call(env, s.token+"\n", "login", "--oidc"); got.status != 0 || !strings.Contains(got.stderr, s.URL+"/store"+s.flow) {
		t.Errorf("below a prefix: %+v", got)
	}
	env["SECRETSTORE_SERVER"] = s.URL
	if got := call(env, "a.b.c\n", "login", "--oidc"); got.status != 4 {
		t.Errorf("a token that the server does not know: %+v", got)
	}
	for _, elsewhere := range []string{"https://evil.example/login", "//evil.example/login", "javascript:x", ""} {
		s.flow = elsewhere
		if got := call(env, s.token+"\n", "login", "--oidc"); got.status != 1 || strings.Contains(got.stderr, "evil") {
			t.Errorf("%q: %+v", elsewhere, got)
		}
	}
}

// TestLoginSaysHowLongToWait: nobody sees the headers of an answer.
func TestLoginSaysHowLongToWait(t *testing.T) {
	for text, status := range map[string]int{
		"too many failed sign-ins of this account or from this address: wait as long as Retry-After says": 429,
		"too many sign-ins at once: try again as Retry-After says":                                        503,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "90")
			refuse(w, status, text, "")
		}))
		defer s.Close()
		got := call(map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}, "right horse\n", "login", "alice")
		if got.status != 1 || !strings.HasSuffix(strings.TrimSpace(got.stderr), ": try again in 1m30s") {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

func TestServerWithoutAccountsIsNamedAtLogin(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "no such endpoint", "") }))
	defer s.Close()
	got := call(map[string]string{"HOME": t.TempDir(), "SECRETSTORE_SERVER": s.URL}, "right horse\n", "login", "alice")
	if got.status != 3 || !strings.Contains(got.stderr, "--iam none") {
		t.Errorf("%+v", got)
	}
}
