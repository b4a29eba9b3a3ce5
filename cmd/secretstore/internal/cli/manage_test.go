package cli

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"secretstore/api/wire"
)

// identityServer notes the requests that change something, and knows no resource until
// one is created.
type identityServer struct {
	*httptest.Server
	requests []string
	resource bool
	secret   string // the value of the secret app/sa
	changed  bool   // somebody else is faster to write it
	stops    int    // seals itself after so many changes, if not 0
	breaks   bool   // breaks connections then
}

func newIdentityServer(t *testing.T) *identityServer {
	t.Helper()
	s := &identityServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *identityServer) answer(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/acs/api/v1")
	if strings.HasPrefix(path, "/secrets/") && r.Method == http.MethodGet {
		w.Header().Set("Content-Type", wire.TypeJSON)
		w.Header().Set("ETag", `"7"`)
		text, _ := json.Marshal(s.secret) // a string
		fmt.Fprintf(w, `{"value":%s}`, text)
		return
	}
	if r.Method == http.MethodGet {
		body, ok := map[string]string{
			"/users":                    `{"array":[{"uid":"alice","description":"A\u001b[31m"}]}`,
			"/users?type=service":       `{"array":[{"uid":"app","is_service":true}]}`,
			"/users/alice":              `{"uid":"alice"}`,
			"/users/alice/groups":       `{"array":[{"group":{"gid":"admins"}}]}`,
			"/users/alice/permissions":  `{"direct":[{"rid":"dcos:x","actions":[{"name":"read"}]}],"groups":[]}`,
			"/groups":                   `{"array":[{"gid":"admins"}]}`,
			"/acls":                     `{"array":[{"rid":"dcos:secrets:default:/a"}]}`,
			"/auth/oidc/providers":      `{"corp":"Corp"}`,
			"/auth/oidc/providers/corp": `{"issuer":"https://idp.example.com"}`,
			"/acls/dcos:secrets:default:%252Fa/permissions": `{"users":[{"uid":"alice","actions":[{"name":"read","until":"2030-01-01T00:00:00Z"}]}],"groups":[]}`,
		}[strings.TrimSuffix(path+"?"+r.URL.RawQuery, "?")]
		if !ok {
			refuse(w, 400, "User with uid `x` not known.", "ERR_UNKNOWN_USER_ID")
			return
		}
		fmt.Fprint(w, body)
		return
	}
	body, _ := io.ReadAll(r.Body) // a part would not be what is wanted
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+path+" "+string(body)))
	switch {
	case s.stops > 0 && len(s.requests) > s.stops && s.breaks:
		panic(http.ErrAbortHandler)
	case s.stops > 0 && len(s.requests) > s.stops:
		refuse(w, 503, "the secret store is sealed", "")
	case strings.HasPrefix(path, "/secrets/"):
		var doc wire.SecretWrite
		if s.changed || r.Header.Get("If-Match") != `"7"` || json.Unmarshal(body, &doc) != nil {
			refuse(w, 412, "somebody else has changed it", "")
			return
		}
		s.secret = doc.Value
	case strings.HasSuffix(path, "/read") && !s.resource:
		refuse(w, 400, "Protected resource with rid `r` not known.", "ERR_UNKNOWN_RESOURCE_ID")
	case strings.HasPrefix(path, "/acls/") && !strings.Contains(path, "/users/"):
		s.resource = true
		w.WriteHeader(201)
	case path == "/users/taken":
		refuse(w, 409, "User with id `taken` already exists.", "ERR_USER_EXISTS")
	default:
		w.WriteHeader(204)
	}
}

func TestAccountsGroupsAndGrantsAreManaged(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("public"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rid = "/acls/dcos:secrets:default:%252Fa"
	for command, want := range map[string][]string{
		"users create bob":                               {`PUT /users/bob {"password":"pw123"}`},
		"users passwd bob":                               {`PATCH /users/bob {"password":"pw123"}`},
		"users update bob --description B":               {`PATCH /users/bob {"description":"B"}`},
		"sa update app --description ":                   {`PATCH /users/app {"description":""}`},
		"groups update g --description G":                {`PATCH /groups/g {"description":"G"}`},
		"users delete bob":                               {"DELETE /users/bob"},
		"users revoke-tokens bob":                        {"POST /users/bob/revoke"},
		"sa create app --public-key " + key:              {`PUT /users/app {"public_key":"public"}`},
		"groups create g --description d":                {`PUT /groups/g {"description":"d"}`},
		"iam rotate-key":                                 {"POST /auth/jwks/rotate"},
		"groups delete g":                                {"DELETE /groups/g"},
		"groups add-user g bob":                          {"PUT /groups/g/users/bob"},
		"groups remove-user g bob":                       {"DELETE /groups/g/users/bob"},
		"users revoke bob dcos:secrets:default:/a full":  {"DELETE " + rid + "/users/bob/full"},
		"groups revoke g dcos:secrets:default:/a create": {"DELETE " + rid + "/groups/g/create"},
		"users grant bob dcos:secrets:default:/a read --until 2030-01-01T00:00:00Z": {
			"PUT " + rid + `/users/bob/read {"until":"2030-01-01T00:00:00Z"}`, "PUT " + rid + ` {"description":"Created with the security CLI"}`,
			"PUT " + rid + `/users/bob/read {"until":"2030-01-01T00:00:00Z"}`},
	} {
		s := newIdentityServer(t)
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "pw123\n", strings.Split(command, " ")...)
		if got.status != 0 || !slices.Equal(s.requests, want) {
			t.Errorf("%s: %+v, requests %q, want %q", command, got, s.requests, want)
		}
	}
}

func TestAccountsGroupsAndGrantsAreShown(t *testing.T) {
	s := newIdentityServer(t)
	for command, want := range map[string]string{
		"users list": "alice", "sa list": "app", "users show alice": "dcos:x", "groups list": "admins", "users show alice --json": `"groups": [`,
		"grants list": "dcos:secrets:default:/a", "grants list dcos:secrets:default:/a": "2030-01-01T00:00:00Z",
		"__complete users show ": "alice\n", "__complete sa delete ": "app\n", "__complete groups add-user ": "admins\n",
		"__complete groups add-user admins ": "alice\n", "__complete users grant alice ": "dcos:secrets:default:/a\n", "__complete users grant alice x ": "full\n", "__complete users passwd ": "alice\n", "__complete sa update ": "app\n",
		"__complete groups update ": "admins\n", "__complete grants list ": "dcos:secrets:default:/a\n", "grants resources --json": "dcos:secrets:default:/a",
	} {
		args := strings.Split(command, " ")
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", args...)
		if got.status != 0 || !strings.Contains(got.stdout, want) || strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

func TestRefusalsAboutAccountsHaveTheirStatus(t *testing.T) {
	s := newIdentityServer(t)
	for command, status := range map[string]int{
		"users show nobody": 3, "users update bob": 2, "users passwd": 4, "sa create app --generate": 2, "sa create app --generate --secret x --public-key y": 2,
		"sa create app --secret x": 2, "sa create app --key-file manage_test.go": 2, "users stale --days 0": 2, "iam import": 2, "iam import --dcos-users manage_test.go": 2,
		"iam import --dcos-users zk://": 2, "iam import --dcos-users x --zk-auth-file y": 2, "users create taken": 1, "users grant a dcos:x frob": 2, "users grant a dcos:x read --until soon": 2,
		"users": 2, "users frob": 2, "sa create app": 2,
	} {
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "pw123\n", strings.Fields(command)...)
		if got.status != status || strings.Contains(got.stderr, "secretstore update") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

func TestGrantsThatWereAppliedInPartSayHowToGoOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "grants.json")
	if err := os.WriteFile(file, []byte(`[{"user":"alice","resource":"dcos:x","action":"update"},{"user":"alice","resource":"dcos:y","action":"update"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newIdentityServer(t)
	s.stops = 1
	got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", "grants", "apply", file, "--yes")
	if got.status != 5 || !strings.Contains(got.stderr, "stopped after 1 of 3 changes, at user alice: update on dcos:y; run it again to make the rest") || !strings.Contains(got.stderr, "added 1, removed 0") {
		t.Errorf("%+v", got)
	}
	s = newIdentityServer(t)
	s.stops, s.breaks = 1, true
	got = call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", "grants", "apply", file, "--yes")
	if got.status != 1 || !strings.Contains(got.stderr, "run it again") || !strings.Contains(got.stderr, "safe to repeat") || strings.Contains(got.stderr, "before you repeat it") {
		t.Errorf("the connection broke: %+v", got)
	}
}

func TestUsersOfOpenDCOSNeedAProviderOfTheServer(t *testing.T) {
	znodes := filepath.Join(t.TempDir(), "znodes")
	if err := os.WriteFile(znodes, []byte(`{"path":"/dcos/users/a@example.com"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for provider, ok := range map[string]bool{"corp": true, "https://idp.example.com": true, "": false, "crop": false, "https://dcos.auth0.com/": false} {
		s := newIdentityServer(t)
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", "iam", "import", "--dcos-users", znodes, "--provider", provider)
		if ok && (got.status != 0 || len(s.requests) != 1 || !strings.Contains(s.requests[0], fmt.Sprintf(`"provider_id":%q`, provider))) {
			t.Errorf("%s: %+v, requests %q", provider, got, s.requests)
		}
		if !ok && (got.status != 2 || len(s.requests) > 0 || !strings.Contains(got.stderr, "corp (https://idp.example.com)")) {
			t.Errorf("%q: %+v, requests %q", provider, got, s.requests)
		}
	}
}

// TestServiceKeyIsRotatedInItsSecret looks at both forms of the secret.
func TestServiceKeyIsRotatedInItsSecret(t *testing.T) {
	dir := t.TempDir()
	private, public := filepath.Join(dir, "app.pem"), filepath.Join(dir, "app.pub.pem")
	if got := call(nil, "", "sa", "keypair", private, public); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	if got := call(nil, "", "sa", "keypair", private, public); got.status != 2 {
		t.Errorf("over an existing key: %+v", got)
	}
	old, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(map[string]string{"uid": "app", "private_key": string(old), "scheme": "RS256"})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{string(old), string(document)} {
		s := newIdentityServer(t)
		s.secret = secret
		env := map[string]string{"SECRETSTORE_SERVER": s.URL}
		got := call(env, "", "sa", "rotate-key", "app", "--secret", "app/sa", "--retire-after", "1h")
		if got.status != 0 || len(s.requests) != 2 || strings.Contains(got.stdout+got.stderr, "PRIVATE") {
			t.Fatalf("%+v, requests %q", got, s.requests)
		}
		var add wire.AccountKeyAdd
		if err := json.Unmarshal([]byte(strings.TrimPrefix(s.requests[0], "PUT /users/app/keys ")), &add); err != nil || add.RetireAfter == nil {
			t.Fatalf("%v in %q", err, s.requests[0])
		}
		if left := time.Until(*add.RetireAfter); left > time.Hour || left < 30*time.Minute {
			t.Errorf("the old keys end in %s", left)
		}
		text := s.secret
		if secret != string(old) {
			var now map[string]string
			if err := json.Unmarshal([]byte(s.secret), &now); err != nil || now["uid"] != "app" || now["scheme"] != "RS256" {
				t.Errorf("%v in %q", err, now["uid"])
			}
			text = now["private_key"]
		}
		if text == string(old) || publicOf(t, text) != add.PublicKey {
			t.Error("the secret does not have the private key of the public one")
		}
	}
}

// publicOf returns the public key of a private one.
func publicOf(t *testing.T, private string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(private))
	if block == nil {
		t.Fatal("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestServiceKeyIsNotRotatedIntoTheWrongSecret(t *testing.T) {
	for _, secret := range []string{"hunter2", `{"uid":"other","private_key":"x"}`, `{"uid":"app"}`} {
		s := newIdentityServer(t)
		s.secret = secret
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", "sa", "rotate-key", "app", "--secret", "app/sa")
		if got.status != 1 || len(s.requests) != 0 || strings.Contains(got.stderr, "hunter2") {
			t.Errorf("%s: %+v, requests %q", secret, got, s.requests)
		}
	}
	s := newIdentityServer(t)
	s.secret, s.changed = `{"uid":"app","private_key":"x"}`, true
	got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "", "sa", "rotate-key", "app", "--secret", "app/sa")
	if got.status != 1 || !strings.Contains(got.stderr, "run this again") {
		t.Errorf("somebody else was faster: %+v", got)
	}
}
