package api_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/tokens"
	"secretstore/seal"
)

// fakeIAM is an IAM in memory, whose hashes are the passwords. A service signs in
// with its own uid as its token.
type fakeIAM struct {
	mu      sync.Mutex
	dir     *iam.Directory // guarded by mu
	err     error          // of Directory and Change
	signIn  error          // of sign-ins
	rotated int            // how often RotateKey was called
}

func newFakeIAM() *fakeIAM {
	d := (&iam.Directory{}).WithBootstrap(iam.FileIdentity("boot", "hash"))
	d = d.With(d.Setup(iam.Origin{}).Put)
	return &fakeIAM{dir: d}
}

func (f *fakeIAM) Directory() (*iam.Directory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dir, f.err
}

func (f *fakeIAM) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// LastUses knows that the superuser of the file was here.
func (f *fakeIAM) LastUses() map[iam.UID]time.Time {
	return map[iam.UID]time.Time{"boot": time.Unix(1e9, 5)}
}

func (f *fakeIAM) Known() *iam.Directory {
	return (&iam.Directory{}).WithBootstrap(iam.FileIdentity("boot", "hash"))
}

func (f *fakeIAM) Change(_ context.Context, change func(*iam.Directory) (iam.Change, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	c, err := change(f.dir)
	if err == nil {
		f.dir = f.dir.With(c.Put, c.Remove...)
	}
	return err
}

func (f *fakeIAM) HashPassword(_ context.Context, _ string, password []byte, _ netip.Addr) (string, error) {
	return string(password), f.signIn
}

func (f *fakeIAM) SignIn(_ context.Context, uid string, password []byte, _ netip.Addr) (iam.Identity, error) {
	if f.signIn != nil {
		return iam.Identity{}, f.signIn
	}
	d, err := f.Directory()
	if err != nil {
		return iam.Identity{}, err
	}
	u, err := d.User(iam.UID(uid))
	if err != nil || u.Hash == "" || u.Hash != string(password) {
		return iam.Identity{}, authority.ErrCredentials
	}
	who, _ := d.Identity(u.UID)
	return who, nil
}

func (f *fakeIAM) SignInService(_ context.Context, uid, token string, _ netip.Addr) (iam.Identity, error) {
	d, err := f.Directory()
	if err != nil {
		return iam.Identity{}, err
	}
	u, err := d.User(iam.UID(uid))
	if err != nil || !u.IsService() || token != uid {
		return iam.Identity{}, authority.ErrCredentials
	}
	who, _ := d.Identity(u.UID)
	return who, nil
}

func (f *fakeIAM) Issue(_ context.Context, who iam.Identity, until time.Time) (string, time.Time, error) {
	expires := time.Now().Add(time.Hour)
	if !until.IsZero() && until.Before(expires) {
		expires = until
	}
	raw, err := token.Sign(string(who.UID), expires, "", []byte(hmacKey))
	return raw, expires, err
}

func (f *fakeIAM) JWKS() ([]byte, error) { return []byte(`{"keys":[]}`), nil }

func (f *fakeIAM) RotateKey(context.Context) error {
	if f.rotated++; f.rotated > 1 {
		return tokens.ErrTooManyKeys
	}
	return nil
}

func TestSuperusersRotateTheKeyOfTokens(t *testing.T) {
	f := newFakeIAM()
	e := newEdge(t, edgeOptions{identities: f})
	rotate := func(uid string) req { return req{method: "POST", path: iamBase + "/auth/jwks/rotate", uid: uid} }
	e.want(rotate(""), 401)
	e.want(rotate("alice"), 403)
	if f.rotated != 0 {
		t.Error("the key was rotated")
	}
	e.want(rotate("root"), 204)
	e.want(rotate("root"), 409, "too many keys")
}

const iamBase = wire.IAMBasePath

// rsaPEM and ecPEM are public keys.
var rsaPEM, ecPEM = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return publicPEM(&key.PublicKey, "PUBLIC KEY")
}), sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return publicPEM(&key.PublicKey, "PUBLIC KEY")
})

func publicPEM(key any, kind string) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// directory is an edge with an IAM.
type directory struct {
	*edge
	iam *fakeIAM
}

func newDirectory(t testing.TB) *directory {
	t.Helper()
	return newDirectoryWith(t, edgeOptions{})
}

func newDirectoryWith(t testing.TB, o edgeOptions) *directory {
	t.Helper()
	o.identities = newFakeIAM()
	return &directory{newEdge(t, o), o.identities}
}

// TestServerIsReadyWithUsersAndGrants: before, it can verify no token.
func TestServerIsReadyWithUsersAndGrants(t *testing.T) {
	d := newDirectory(t)
	ready := req{method: "GET", path: "/ready"}
	d.want(ready, 200, "ready")
	d.iam.fail(iam.ErrNotLoaded)
	d.want(ready, 503, "still being loaded")
	d.iam.fail(nil)
	d.want(ready, 200, "ready")
}

var asJSON = http.Header{"Content-Type": {"application/json"}}

// call makes a request as the superuser.
func (d *directory) call(method, path, body string, status int, words ...string) res {
	d.t.Helper()
	return d.as("root", method, path, body, status, words...)
}

// as makes a request as uid.
func (d *directory) as(uid, method, path, body string, status int, words ...string) res {
	d.t.Helper()
	q := req{method: method, path: iamBase + path, uid: uid, body: body, header: http.Header{}}
	if body != "" {
		q.header = asJSON.Clone()
	}
	return d.want(q, status, words...)
}

func (d *directory) person(uid string) {
	d.t.Helper()
	d.call("PUT", "/users/"+uid, `{"description":"Person","password":"password of `+uid+`"}`, 201)
}

func (d *directory) service(uid string) {
	d.t.Helper()
	body, err := json.Marshal(map[string]string{"description": "Service", "public_key": rsaPEM()})
	must(d.t, err)
	d.call("PUT", "/users/"+uid, string(body), 201)
}

// wantDocument compares an answer with a document.
func (d *directory) wantDocument(path, want string) {
	d.t.Helper()
	got := d.call("GET", path, "", 200)
	var a, b any
	must(d.t, json.Unmarshal([]byte(got.body), &a))
	must(d.t, json.Unmarshal([]byte(want), &b))
	if diff := cmp.Diff(b, a); diff != "" {
		d.t.Errorf("GET %s (-want +got):\n%s", path, diff)
	}
	var indented bytes.Buffer
	must(d.t, json.Indent(&indented, []byte(got.body), "", "  "))
	if indented.String() != got.body || !strings.HasSuffix(got.body, "}\n") || strings.HasSuffix(got.body, "\n\n") {
		d.t.Errorf("GET %s: not indented by two, with one line break at the end:\n%s", path, got.body)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		d.t.Errorf("GET %s: Content-Type %q", path, kind)
	}
}

func TestUsersAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	boot := `{"uid":"boot","url":"/acs/api/v1/users/boot","description":"Bootstrap superuser","is_remote":false,"is_service":false,"provider_type":"internal","provider_id":""}`
	alice := `{"uid":"alice","url":"/acs/api/v1/users/alice","description":"Person","is_remote":false,"is_service":false,"provider_type":"internal","provider_id":""}`
	d.wantDocument("/users", `{"array":[`+boot+`]}`)
	d.wantDocument("/users?type=service", `{"array":[]}`)
	if got := d.call("PUT", "/users/alice", `{"description":"Person","password":"password of alice"}`, 201); got.body != "" || got.header.Get("Content-Type") != "" {
		t.Errorf("the answer to PUT: %+v", got)
	}
	d.wantDocument("/users/alice", alice)
	d.wantDocument("/users/", `{"array":[`+alice+`,`+boot+`]}`)
	d.wantDocument("/users?_timestamp=1&type=people", `{"array":[`+alice+`,`+boot+`]}`)
	d.service("svc")
	key, err := json.Marshal(rsaPEM())
	must(t, err)
	svc := `{"uid":"svc","url":"/acs/api/v1/users/svc","description":"Service","is_remote":false,"is_service":true,"provider_type":"internal","provider_id":"","public_key":` + string(key) + `}`
	d.wantDocument("/users/svc", svc)
	d.wantDocument("/users?type=service", `{"array":[`+svc+`]}`)
	d.call("PUT", "/users/alice", `{"password":"another"}`, 409, `"code":"ERR_USER_EXISTS"`, "User with id `alice` already exists.")
	d.call("PUT", "/users/boot", `{"password":"another"}`, 409, "ERR_USER_EXISTS")
	for _, method := range []string{"GET", "DELETE"} {
		d.call(method, "/users/unknownid", "", 400, `"code":"ERR_UNKNOWN_USER_ID"`, "User with uid `unknownid` not known.")
	}
	d.call("PATCH", "/users/unknownid", `{"description":"new"}`, 400, "ERR_UNKNOWN_USER_ID")
	d.call("PATCH", "/users/alice", `{}`, 400, "ERR_INVALID_DATA", "One of `description` and `password` must be provided.")
	d.call("PATCH", "/users/alice", `{"password":"1234"}`, 400, "Password does not match rules")
	d.call("PATCH", "/users/svc", `{"password":"new-password"}`, 400, "Password update is not available for service user accounts.")
	got := d.call("PATCH", "/users/alice", `{"description":"new \u00e4","password":"new-password"}`, 204)
	if got.body != "" || got.header["Content-Type"] != nil {
		t.Errorf("the answer to PATCH: %+v", got)
	}
	d.wantDocument("/users/alice", strings.Replace(alice, "Person", "new ä", 1))
	if got := d.call("DELETE", "/users/alice", "", 204); got.body != "" || got.header["Content-Type"] != nil {
		t.Errorf("the answer to DELETE: %+v", got)
	}
	d.call("GET", "/users/alice", "", 400, "ERR_UNKNOWN_USER_ID")
	for _, q := range []struct{ method, path, body string }{
		{"PATCH", "/users/boot", `{"description":"x"}`}, {"DELETE", "/users/boot", ""}, {"POST", "/users/boot/revoke", ""},
		{"DELETE", "/groups/superusers/users/boot", ""}, {"PUT", "/acls/dcos:superuser/users/boot/full", ""},
	} {
		d.call(q.method, q.path, q.body, 400, "ERR_INVALID_DATA", "file")
	}
}

func TestLastUsesAreInListsThatAskForThem(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	var list wire.Users
	must(t, json.Unmarshal([]byte(d.call("GET", "/users?last_use=true", "", 200).body), &list))
	if len(list.Array) != 2 {
		t.Fatalf("%+v", list)
	}
	alice, boot := list.Array[0], list.Array[1]
	if alice.CreatedBy != "root" || time.Since(alice.Created) > time.Hour || !alice.LastUse.IsZero() {
		t.Errorf("%+v", alice)
	}
	if !boot.LastUse.Equal(time.Unix(1e9, 0)) {
		t.Errorf("%+v", boot)
	}
	for _, path := range []string{"/users", "/users?last_use=", "/users?last_use=false", "/users/alice?last_use=true"} {
		if got := d.call("GET", path, "", 200); strings.Contains(got.body, "created") || strings.Contains(got.body, "last_use") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	d.as("alice", "GET", "/users?last_use=true", "", 403)
}

func TestIdsOfUsersAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	for _, uid := range []string{"a!", "!a", strings.Repeat("a", 97), "user%21", "a%2Fb", "a%252Fb", "%20", "anonymous", "a+b", "%C3%A4"} {
		d.call("PUT", "/users/"+uid, `{"description":"User A","password":"ThisIsAPassword"}`, 400, "ERR_INVALID_USER_ID", "Invalid user ID: ")
	}
	for _, uid := range []string{"a", "Az09@.", "a-", "a.a", strings.Repeat("a", 96), "ldap.username-X09", "a_a", "A"} {
		d.call("PUT", "/users/"+uid, `{"description":"User A","password":"ThisIsAPassword"}`, 201)
	}
}

// TestProvidersOfAUserAsInDCOS has all combinations of what an account may be made
// with.
func TestProvidersOfAUserAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	text := func(s string) *string { return &s }
	n := 0
	for _, password := range []*string{nil, text(""), text("ThisIsAPassword"), text("1234")} {
		for _, key := range []*string{nil, text(""), text(rsaPEM())} {
			for _, provider := range []*string{nil, text(""), text("bad"), text("internal"), text("ldap"), text("oidc"), text("saml")} {
				for _, id := range []*string{nil, text(""), text(" "), text("some id")} {
					n++
					doc := map[string]string{"description": "User A"}
					for name, value := range map[string]*string{"password": password, "public_key": key, "provider_type": provider, "provider_id": id} {
						if value != nil {
							doc[name] = *value
						}
					}
					body, err := json.Marshal(doc)
					must(t, err)
					uid := fmt.Sprint("user", n)
					status, words := providerRule(password, key, provider, id)
					got := d.call("PUT", "/users/"+uid, string(body), status, words...)
					if status == 400 && !strings.Contains(got.body, `"code":"ERR_INVALID_DATA"`) {
						t.Errorf("%s: %s", body, got.body)
					}
				}
			}
		}
	}
}

// providerRule is what DC/OS answers.
func providerRule(password, key, provider, id *string) (status int, words []string) {
	given := func(s *string) bool { return s != nil && *s != "" }
	kind := "internal"
	if provider != nil {
		kind = *provider
	}
	named := kind == "oidc" || kind == "saml"
	switch {
	case password != nil && *password == "":
		return 400, []string{"`password` must not be empty when provided"}
	case key != nil && *key == "":
		return 400, []string{"`public_key` must not be empty when provided"}
	case !slices.Contains([]string{"internal", "ldap", "oidc", "saml"}, kind):
		return 400, []string{"Invalid provider_type: " + kind}
	case kind != "internal" && given(password):
		return 400, []string{"external provider: `password` is unexpected"}
	case kind != "internal" && given(key):
		return 400, []string{"external provider: `public_key` is unexpected"}
	case kind == "internal" && given(password) == given(key):
		return 400, []string{"One of `password` or `public_key` must be provided"}
	case given(password) && len(*password) < 5:
		return 400, []string{"Password does not match rules: Must be at least 5 characters long."}
	case named && !given(id):
		return 400, []string{"Invalid provider_id: provider_id must be provided if provider_type is saml or oidc"}
	case !named && given(id):
		return 400, []string{"Invalid provider_id: provider_id must not be provided unless provider_type is saml or oidc"}
	}
	return 201, nil
}

func TestPublicKeysAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	for _, row := range []struct{ key, want string }{
		{strings.ReplaceAll(rsaPEM(), "PUBLIC KEY", "RSA PUBLIC KEY"), "Invalid public key: Key must be of type RSA"},
		{ecPEM(), "Invalid public key: Key must be of type RSA"},
		{"ThisIsAnInvalidPublicKey", "Invalid public key: "},
	} {
		body, err := json.Marshal(map[string]string{"public_key": row.key})
		must(t, err)
		d.call("PUT", "/users/svc", string(body), 400, `"code":"ERR_INVALID_PUBLIC_KEY"`, row.want)
	}
}

func TestBodiesAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	kind := func(s string) http.Header { return http.Header{"Content-Type": {s}} }
	for _, row := range []struct {
		method, path, body string
		header             http.Header
		status             int
		text               string
	}{
		{"PUT", "/users", "x", kind("application/whatsthat"), 415, "Unexpected or undefined Content-Type"},
		{"PUT", "/users/rolf", "x", kind("text/plain"), 415, "Unexpected or undefined Content-Type"},
		{"PUT", "/users/rolf", "x", kind("application/x-www-form-urlencoded"), 400, "Request has bad Content-Type or lacks JSON data"},
		{"PUT", "/users/rolf", "{}", nil, 400, "Missing Content-Type header."},
		{"PUT", "/users", "x", kind("application/json; charset=utf-8"), 400, "Cannot decode JSON body"},
		{"POST", "/users", "\x01\x80", asJSON, 400, "Cannot decode JSON body using UTF-8. Reason: "},
		{"POST", "/users", "This is not JSON!", asJSON, 400, "Cannot decode JSON body"},
		{"POST", "/users", "{}", asJSON, 405, "method not allowed"},
		{"POST", "/users", "", nil, 405, "method not allowed"},
		{"DELETE", "/users", "", nil, 405, "method not allowed"},
		{"PUT", "/users/rolf", "", nil, 400, "Request has bad Content-Type or lacks JSON data"},
		{"PUT", "/users/rolf", "", asJSON, 400, "Request has bad Content-Type or lacks JSON data"},
		{"PUT", "/users/rolf", "[]", asJSON, 400, "Unexpected JSON input. Hint: "},
		{"PUT", "/users/rolf", `{"password":"a","password":"b"}`, asJSON, 400, "Cannot decode JSON body"},
		{"PUT", "/users/rolf", `{"password":"ThisIsAPassword","someprop":"someval"}`, asJSON, 400,
			"Unexpected JSON input. Hint: Additional properties are not allowed ('someprop' was unexpected)"},
		{"PUT", "/users/rolf", `{"password":1}`, asJSON, 400, "Unexpected JSON input. Hint: 'password' is not of type 'string'"},
		{"PUT", "/users/rolf", `{"password":null}`, asJSON, 400, "Unexpected JSON input. Hint: "},
		{"PUT", "/groups/g", `{}`, asJSON, 400, "Unexpected JSON input. Hint: 'description' is a required property"},
		{"PUT", "/acls/r", `{}`, asJSON, 400, "Unexpected JSON input. Hint: 'description' is a required property"},
		{"GET", "/users", "x", asJSON, 200, ""},
		{"PUT", "/users/open", `{"password":"ThisIsAPassword","creator_uid":"x","cluster_url":"y"}`, kind("Application/JSON;charset=UTF-8"), 201, ""},
	} {
		got := d.want(req{method: row.method, path: iamBase + row.path, uid: "root", body: row.body, header: row.header}, row.status, row.text)
		if row.status == 405 && !strings.Contains(got.header.Get("Allow"), "GET") {
			t.Errorf("%s %s: Allow %q", row.method, row.path, got.header.Get("Allow"))
		}
	}
	for accept, status := range map[string]int{"": 200, "*/*": 200, "application/json": 200, "text/html": 406, "text/html, */*;q=0.1": 200, "application/json;q=0": 406, "application/*": 200} {
		got := d.do(req{method: "GET", path: iamBase + "/users", uid: "root", header: http.Header{"Accept": {accept}}})
		if got.status != status || status == 406 && !strings.Contains(got.body, "The user agent must support application/json responses.") {
			t.Errorf("Accept %q: %d %s", accept, got.status, got.body)
		}
	}
	d.call("GET", "/nothing", "", 404)
	d.want(req{method: "GET", path: iamBase, uid: "root"}, 404)
}

func TestSignInAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	d.service("svc")
	login := func(body string, status int, words ...string) res {
		t.Helper()
		// Clients send an empty token.
		header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"token="}}
		return d.want(req{method: "POST", path: iamBase + "/auth/login?target=x", body: body, header: header}, status, words...)
	}
	for _, body := range []string{
		`{"uid":"alice","password":"wrong"}`, `{"uid":"nobody","password":"wrong"}`, `{"uid":"svc","password":"somepassword"}`,
		`{"uid":"nobody","token":"abc"}`, `{"uid":"alice","token":"alice"}`, `{"uid":"svc","token":"abc"}`, `{"token":"abc"}`, `{"uid":"a b","password":"x"}`,
	} {
		got := login(body, 401, `"code":"ERR_INVALID_CREDENTIALS"`, `"description":"Invalid credentials."`)
		if got.header.Get("WWW-Authenticate") != "acsjwt" || got.header["Set-Cookie"] != nil {
			t.Errorf("%s: %v", body, got.header)
		}
	}
	login(`{"uid":"alice"}`, 400, "Exactly one of `token` and `password` must be provided in the request body")
	login(`{"uid":"alice","password":"x","token":"y"}`, 400, "Exactly one of `token` and `password`")
	login(`{"password":"x"}`, 400, "`uid` missing in the request body")
	login(`{"uid":"","password":"x"}`, 400, "`uid` and `password` must not be empty strings")
	login(`{"uid":"alice","password":""}`, 400, "`uid` and `password` must not be empty strings")
	login(`{"uid":1,"password":"x"}`, 400, "Unexpected JSON input")
	login(`{"uid":"alice","password":"password of alice"`, 400, "Cannot decode JSON body")

	got := login(`{"uid":"alice","password":"password of alice","more":{"ignored":[]}}`, 200)
	var doc wire.AuthToken
	must(t, json.Unmarshal([]byte(got.body), &doc))
	d.want(req{method: "GET", path: "/secrets/v1/store", header: http.Header{"Authorization": {"token=" + doc.Token}}}, 200)
	cookies := got.header["Set-Cookie"]
	info := base64.StdEncoding.EncodeToString([]byte(`{"uid":"alice","description":"Person","is_remote":false}`))
	if len(cookies) != 2 || !strings.HasPrefix(cookies[0], "dcos-acs-auth-cookie="+doc.Token+"; HttpOnly; Max-Age=3") ||
		!strings.HasSuffix(cookies[0], "; Path=/; SameSite=Lax") || !strings.HasPrefix(cookies[1], "dcos-acs-info-cookie="+info+"; Max-Age=3") ||
		!strings.HasSuffix(cookies[1], "; Path=/; SameSite=Lax") || strings.Contains(fmt.Sprint(cookies), ",") {
		t.Errorf("cookies %q", cookies)
	}
	d.call("PATCH", "/users/alice", `{"description":"ä😀\""}`, 204)
	got = login(`{"uid":"alice","password":"password of alice"}`, 200)
	info = base64.StdEncoding.EncodeToString([]byte(`{"uid":"alice","description":"\u00e4\ud83d\ude00\"","is_remote":false}`))
	if cookie := got.header["Set-Cookie"][1]; !strings.HasPrefix(cookie, "dcos-acs-info-cookie="+info+";") {
		t.Errorf("cookie %q", cookie)
	}
	login(`{"uid":"svc","token":"svc"}`, 200, `"token"`)

	got = d.want(req{method: "GET", path: iamBase + "/auth/logout"}, 200)
	if want := []string{"dcos-acs-auth-cookie=; expires=Sat, 01 Jan 2000 00:00:00 GMT; HttpOnly; Path=/; SameSite=Lax"}; !cmp.Equal(got.header["Set-Cookie"], want) || got.body != "" {
		t.Errorf("sign-out: %q %q", got.header["Set-Cookie"], got.body)
	}
	d.want(req{method: "GET", path: iamBase + "/auth/login"}, 400, "ERR_MISSING_QUERY_PARAMETERS", "Expected query parameter `oidc-provider` or `saml-provider`.")
	d.want(req{method: "PUT", path: iamBase + "/auth/login"}, 405)
	d.want(req{method: "GET", path: iamBase + "/auth/jwks", header: http.Header{"Authorization": {"nonsense"}}}, 200, `"keys"`)
	d.want(req{method: "GET", path: iamBase + "/auth/providers"}, 200, `"dcos-uid-password"`, `"dcos-usercredential-post-receive-authtoken"`, `"dcos-uid-servicekey"`,
		`"dcos-servicecredential-post-receive-authtoken"`, `"start_flow_url": "/acs/api/v1/auth/login"`, `"Default DC/OS login provider"`)
	got = d.want(req{method: "GET", path: iamBase + "/internal/openapispec.yaml"}, 200, "openapi: 3.1.0")
	if kind := got.header.Get("Content-Type"); kind != "application/x-yaml; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
}

func TestSignInSaysWhenToTryAgain(t *testing.T) {
	d := newDirectory(t)
	for _, row := range []struct {
		err    error
		status int
		after  string
	}{
		{&authority.TooMany{RetryAfter: 90 * time.Second}, 429, "90"},
		{&authority.Busy{RetryAfter: 1500 * time.Millisecond}, 503, "2"},
		{seal.ErrSealed, 503, ""},
		{iam.ErrNotLoaded, 503, "2"},
	} {
		d.iam.signIn = row.err
		got := d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"uid":"alice","password":"x"}`}, row.status)
		if after := got.header.Get("Retry-After"); after != row.after {
			t.Errorf("%v: Retry-After %q", row.err, after)
		}
	}
	d.call("PUT", "/users/alice", `{"password":"ThisIsAPassword"}`, 503)
}

func TestGroupsAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	d.service("svc")
	group := `{"gid":"ops","url":"/acs/api/v1/groups/ops","description":"Operators","provider_type":"internal"}`
	d.call("PUT", "/groups/ops", `{"description":"Operators"}`, 201)
	d.call("PUT", "/groups/ops", `{"description":"Operators"}`, 409, "ERR_GROUP_EXISTS", "Group with id `ops` already exists.")
	d.call("PUT", "/groups/bad!", `{"description":"x"}`, 400, "ERR_INVALID_GROUP_ID")
	d.call("PUT", "/groups/ext", `{"description":"x","provider_type":"nonsense"}`, 400, "ERR_INVALID_DATA")
	d.call("PUT", "/groups/ext", `{"description":"","provider_type":"ldap"}`, 201)
	d.wantDocument("/groups/ops", group)
	d.wantDocument("/groups", `{"array":[{"gid":"ext","url":"/acs/api/v1/groups/ext","description":"","provider_type":"ldap"},`+group+
		`,{"gid":"superusers","url":"/acs/api/v1/groups/superusers","description":"Superuser group","provider_type":"internal"}]}`)
	d.call("PATCH", "/groups/ops", `{"description":"People"}`, 204)
	d.wantDocument("/groups/ops", strings.Replace(group, "Operators", "People", 1))
	d.call("PATCH", "/groups/ops", `{"description":"Operators"}`, 204)
	d.call("PATCH", "/groups/none", `{"description":"x"}`, 400, "ERR_UNKNOWN_GROUP_ID")
	d.call("PUT", "/groups/ops/users/alice", "", 204)
	d.call("PUT", "/groups/ops/users/alice", "", 409, "ERR_USER_ALREADY_IN_GROUP")
	d.call("PUT", "/groups/ops/users/svc", "", 204)
	d.call("PUT", "/groups/ops/users/nobody", "", 400, "ERR_UNKNOWN_USER_ID")
	d.call("PUT", "/groups/none/users/alice", "", 400, "ERR_UNKNOWN_GROUP_ID")
	d.call("GET", "/groups/none", "", 400, "ERR_UNKNOWN_GROUP_ID", "Group with gid `none` not known.")
	d.call("GET", "/groups/ops/users", "", 200, `"membershipurl": "/acs/api/v1/groups/ops/users/alice"`, `"by": "root"`)
	d.call("GET", "/groups/ops/users?type=service", "", 200, `"uid": "svc"`)
	d.wantDocument("/users/alice/groups", `{"array":[{"membershipurl":"/acs/api/v1/groups/ops/users/alice","group":`+group+`}]}`)
	d.call("GET", "/groups/superusers/users", "", 200, `"uid": "boot"`)
	d.call("DELETE", "/groups/superusers", "", 400, "ERR_IS_SUPERUSER_GROUP")
	d.call("DELETE", "/groups/ops/users/alice", "", 204)
	d.call("DELETE", "/groups/ops/users/alice", "", 400, "ERR_USER_NOT_IN_GROUP")
	d.call("DELETE", "/groups/ops", "", 204)
	d.wantDocument("/users/svc/groups", `{"array":[]}`)
}

func TestGrantsAsInDCOS(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	d.call("PUT", "/groups/ops", `{"description":"Operators"}`, 201)
	d.call("PUT", "/groups/ops/users/alice", "", 204)
	const rid, acl = "dcos:secrets:default:%252Fteam%252Fkey", "/acs/api/v1/acls/dcos:secrets:default:%252Fteam%252Fkey"
	d.call("PUT", "/acls/"+rid+"/users/alice/read", "", 400, "ERR_UNKNOWN_RESOURCE_ID")
	d.call("PUT", "/acls/"+rid, `{"description":""}`, 201)
	d.call("PUT", "/acls/dcos:secrets:default:team/key", `{"description":"other spelling"}`, 409, "ERR_ACL_EXISTS")
	d.call("PUT", "/acls/"+rid+"/users/alice/fly", "", 400, "ERR_INVALID_ACTION")
	d.call("PUT", "/acls/"+rid+"/users/nobody/read", "", 400, "ERR_UNKNOWN_USER_ID")
	d.call("PUT", "/acls/"+rid+"/groups/none/read", "", 400, "ERR_UNKNOWN_GROUP_ID")
	d.call("PUT", "/acls/"+rid+"/users/alice/read", "", 204)
	d.call("PUT", "/acls/"+rid+"/users/alice/read", "", 409, "ERR_PERMISSION_EXISTS")
	d.call("PUT", "/acls/"+rid+"/users/alice/create", `{"until":"2000-01-01T00:00:00Z"}`, 400, "ERR_INVALID_DATA", "`until` must be in the future.")
	d.call("PUT", "/acls/"+rid+"/users/alice/create", `{"until":"9999-12-31T23:59:59-01:00"}`, 400, "ERR_INVALID_DATA", "`until`")
	d.call("PUT", "/acls/"+rid+"/users/alice/create", `{"until":"2999-01-01T00:00:00Z"}`, 204)
	d.call("PUT", "/acls/"+rid+"/groups/ops/full", "", 204)
	d.wantDocument("/acls", `{"array":[{"rid":"dcos:secrets:default:/team/key","url":"`+acl+`","description":""},{"rid":"dcos:superuser","url":"/acs/api/v1/acls/dcos:superuser","description":"Superuser ACL"}]}`)
	for path, words := range map[string][]string{
		"/acls/" + rid + "/users/alice": {`"name": "create"`, `"url": "` + acl + `/users/alice/create"`, `"until": "2999-01-01T00:00:00Z"`, `"name": "read"`},
		"/acls/" + rid + "/groups/ops":  {`"name": "full"`, `"url": "` + acl + `/groups/ops/full"`},
		"/acls/" + rid + "/permissions": {`"userurl": "/acs/api/v1/users/alice"`, `"groupurl": "/acs/api/v1/groups/ops"`},
		"/users/alice/permissions":      {`"direct"`, `"aclurl": "` + acl + `"`, `"groups"`, `"gid": "ops"`, `"membershipurl": "/acs/api/v1/groups/ops/users/alice"`},
		"/groups/ops/permissions":       {`"rid": "dcos:secrets:default:/team/key"`},
	} {
		d.call("GET", path, "", 200, append(words, `"by": "root"`)...)
	}
	d.wantDocument("/users/boot/permissions", `{"direct":[],"groups":[{"rid":"dcos:superuser","gid":"superusers","description":"Superuser ACL","aclurl":"/acs/api/v1/acls/dcos:superuser",
		"membershipurl":"/acs/api/v1/groups/superusers/users/boot","actions":[{"name":"full","url":"/acs/api/v1/acls/dcos:superuser/groups/superusers/full"}]}]}`)
	d.call("GET", "/acls/"+rid+"/groups/ops/read", "", 200, `{`+"\n"+`  "allowed": true`+"\n}\n")
	d.call("GET", "/acls/"+rid+"/users/nobody/read", "", 400, "ERR_UNKNOWN_USER_ID")
	d.call("GET", "/acls/none/users/alice/read", "", 400, "ERR_UNKNOWN_RESOURCE_ID", "Protected resource with rid `none` not known.")
	d.call("DELETE", "/acls/"+rid+"/users/alice/delete", "", 400, "ERR_ACTION_NOT_YET_STORED", "Action `delete` unknown for user `alice` in ACL for resource `dcos:secrets:default:/team/key`")
	d.call("DELETE", "/acls/"+rid+"/users/alice/read", "", 204)
	d.call("DELETE", "/acls/"+rid+"/users/alice", "", 204)
	d.call("DELETE", "/acls/"+rid+"/users/alice", "", 400, "ERR_USER_NOT_IN_ACL", "User `alice` is not part of ACL for resource `dcos:secrets:default:/team/key`")
	d.call("GET", "/acls/"+rid+"/users/alice", "", 400, "ERR_USER_NOT_IN_ACL")
	d.call("DELETE", "/acls/"+rid+"/groups/ops", "", 204)
	d.call("GET", "/acls/"+rid+"/groups/ops", "", 400, "ERR_GROUP_NOT_IN_ACL")
	d.call("DELETE", "/acls/dcos:superuser", "", 400, "ERR_IS_SUPERUSER_ACL")
	d.call("DELETE", "/acls/dcos:superuser/groups/superusers/full", "", 400, "ERR_IS_SUPERUSER_GROUP", "must have `full` permission on the `dcos:superuser` resource.")
	d.call("PATCH", "/acls/"+rid, `{"description":"Team"}`, 204)
	d.call("PATCH", "/acls/none", `{"description":"x"}`, 400, "ERR_UNKNOWN_RESOURCE_ID")
	d.wantDocument("/acls/"+rid, `{"rid":"dcos:secrets:default:/team/key","url":"`+acl+`","description":"Team"}`)
	d.call("DELETE", "/acls/"+rid, "", 204)
	d.call("GET", "/acls/"+rid, "", 400, "ERR_UNKNOWN_RESOURCE_ID")
	d.call("PUT", "/acls/a%20b", `{"description":""}`, 400, "ERR_INVALID_RESOURCE_ID")
}

// TestRidsWithRawSlashes: clients revoke grants with them.
func TestRidsWithRawSlashes(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	d.call("PUT", "/acls/x:/a/b", `{"description":"raw"}`, 201)
	d.call("GET", "/acls/x:%2Fa%252fb", "", 200, `"rid": "x:/a/b"`)
	d.call("GET", "/acls/x:/a//b", "", 400, "ERR_UNKNOWN_RESOURCE_ID")
	d.call("PUT", "/acls/x:/a/b/users/alice/read", "", 204)
	d.call("GET", "/acls/x:/a/b/users/alice", "", 200, `"name": "read"`)
	d.call("GET", "/acls/x:/a/b/permissions", "", 200, `"uid": "alice"`)
	d.call("DELETE", "/acls/x:/a/b/users/alice/read", "", 204)
	d.call("GET", "/acls/x:/a/b/users/alice/read", "", 200, `"allowed": false`)
	d.call("PUT", "/acls/x:/a/b/users/alice", `{"description":""}`, 405)
	d.call("PUT", "/acls/x:%2Fa%2Fb%2Fusers%2Falice", `{"description":"an ACL"}`, 201)
	d.call("GET", "/acls/x:/a/b/users/alice", "", 200, `"description": "an ACL"`)
	d.call("PUT", "/acls/x:/a/b/users/alice/read", "", 204)
	d.call("DELETE", "/acls/x:/a/b/users/alice", "", 204)
	d.call("GET", "/acls/x:/a/b/users/alice", "", 200, `"name": "read"`)
}

func TestPolicyQuery(t *testing.T) {
	d := newDirectory(t)
	policy, err := acl.ParsePolicy([]byte(policyText + `  router: {"dcos:iam:policyquery": [read]}`))
	must(t, err)
	d.policy.Store(policy.WithSuperusers("root"))
	d.person("bob")
	d.person("admin")
	d.call("PUT", "/groups/superusers/users/admin", "", 204)
	for _, name := range []string{"dcos:adminrouter:*", "dcos:mesos:master:task", "dcos:super*", "*"} {
		d.call("PUT", "/acls/"+name, `{"description":""}`, 201)
	}
	d.call("PUT", "/acls/dcos:adminrouter:*/users/bob/read", "", 204)
	d.call("PUT", "/acls/dcos:mesos:master:task/users/bob/full", "", 204)
	d.call("PUT", "/acls/dcos:super*/users/bob/full", "", 204)
	for _, row := range []struct {
		uid, rid, action string
		want             bool
	}{
		{"bob", "dcos:adminrouter:ops:mesos", "read", true},
		{"bob", "dcos:adminrouter:ops:metadata", "read", true},
		{"bob", "dcos:adminrouter:ops:mesos", "full", false},
		{"bob", "dcos:mesos:master:task", "create", true},
		{"bob", "dcos:mesos:master:task:x", "create", false},
		{"bob", "dcos:superuser", "full", false},
		{"bob", "dcos:superuser", "read", false},
		{"bob", "not a rid", "read", false},
		{"bob", "", "read", false},
		{"", "dcos:mesos:master:task", "read", false},
		{"nobody", "dcos:mesos:master:task", "read", false},
		{"admin", "dcos:anything", "full", true},
		{"root", "dcos:anything", "full", true},
		{"boot", "dcos:superuser", "full", true},
		// As the policy of this server decides.
		{"alice", "dcos:secrets:default:/a", "read", true},
		{"alice", "dcos:secrets:default:a", "full", false},
		{"lister", "dcos:secrets:list:default:/group/sub", "read", true},
		{"lister", "dcos:secrets:list:default:/other", "read", false},
		{"scheduler", "dcos:secrets:default:/a", "read", false},
	} {
		query := "/internal/policyquery?" + url.Values{"rid": {row.rid}, "uid": {row.uid}, "action": {row.action}}.Encode()
		for _, asker := range []string{"root", "router"} {
			got := d.as(asker, "GET", query, "", 200)
			if want := fmt.Sprintf("{\n  \"allowed\": %v\n}\n", row.want); got.body != want {
				t.Errorf("%s, %s on %s: %s", row.uid, row.action, row.rid, got.body)
			}
		}
	}
	d.call("GET", "/internal/policyquery?rid=x&uid=y", "", 400)
	d.call("GET", "/internal/policyquery?rid=x&uid=y&uid=z&action=read", "", 400)
	d.call("GET", "/internal/policyquery?rid=x&uid=y&action=fly", "", 400, "ERR_INVALID_ACTION")
	d.as("bob", "GET", "/internal/policyquery?rid=x&uid=bob&action=read", "", 403, "ask an administrator for read on dcos:iam:policyquery")
	d.call("GET", "/acls/dcos:mesos:master:task/users/bob/create", "", 200, `"allowed": true`)
}

func TestOwnPasswordNeedsTheOldOne(t *testing.T) {
	d := newDirectory(t)
	d.person("bob")
	d.person("eve")
	for _, row := range []struct {
		who, of, body string
		status        int
		text          string
	}{
		{"bob", "bob", `{"password":"new-password"}`, 400, "`old_password` must be provided"},
		{"bob", "bob", `{"password":"new-password","old_password":"wrong"}`, 400, "ERR_INVALID_CREDENTIALS"},
		{"bob", "bob", `{"password":"new-password","old_password":"password of bob","description":"boss"}`, 403, "only superusers"},
		{"bob", "bob", `{"description":"boss"}`, 403, "only superusers"},
		{"eve", "bob", `{"password":"new-password","old_password":"password of bob"}`, 403, "permission denied"},
		{"eve", "nobody", `{"password":"new-password","old_password":"x"}`, 403, "permission denied"},
		{"bob", "bob", `{"password":"new-password","old_password":"password of bob"}`, 204, ""},
		{"root", "bob", `{"password":"password of bob","old_password":"wrong"}`, 400, "ERR_INVALID_CREDENTIALS"},
		{"root", "bob", `{"password":"password of bob"}`, 204, ""},
	} {
		d.as(row.who, "PATCH", "/users/"+row.of, row.body, row.status, row.text)
	}
	d.as("bob", "GET", "/users/bob", "", 200)
	d.as("bob", "GET", "/users/bob/permissions", "", 200)
	for _, path := range []string{"/users", "/users/eve", "/users/eve/permissions", "/users/nobody", "/groups", "/acls", "/groups/superusers/users", "/acls/dcos:superuser"} {
		d.as("bob", "GET", path, "", 403, "dcos:superuser")
		d.want(req{method: "GET", path: iamBase + path}, 401)
	}
	d.as("bob", "PUT", "/groups/superusers/users/bob", "", 403)
	d.as("bob", "POST", "/users/bob/revoke", "", 403)
}

func TestKeysOfAServiceAreAddedAndDeleted(t *testing.T) {
	d := newDirectory(t)
	d.service("svc")
	d.person("bob")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	body, err := json.Marshal(map[string]string{"public_key": publicPEM(&other.PublicKey, "PUBLIC KEY"), "retire_after": "2999-01-01T00:00:00Z"})
	must(t, err)
	tooLate := strings.Replace(string(body), "2999-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", 1)
	d.call("PUT", "/users/svc/keys", tooLate, 400, "ERR_INVALID_DATA", "`retire_after`")
	d.call("PUT", "/users/svc/keys", string(body), 204)
	d.call("PUT", "/users/svc/keys", string(body), 400, "already")
	d.call("PUT", "/users/bob/keys", string(body), 400, "Only service accounts")
	d.call("PUT", "/users/svc/keys", `{"public_key":"x"}`, 400, "ERR_INVALID_PUBLIC_KEY")
	got := d.as("svc", "GET", "/users/svc/keys", "", 200, `"retire_after": "2999-01-01T00:00:00Z"`, `"by": "root"`)
	var keys wire.AccountKeys
	must(t, json.Unmarshal([]byte(got.body), &keys))
	if len(keys.Array) != 2 || !keys.Array[0].RetireAfter.IsZero() || keys.Array[1].RetireAfter.IsZero() {
		t.Fatalf("%+v", keys)
	}
	d.call("DELETE", "/users/svc/keys/"+keys.Array[1].ID, "", 204)
	d.call("DELETE", "/users/svc/keys/"+keys.Array[0].ID, "", 400, "only public key")
	d.call("DELETE", "/users/svc/keys/none", "", 400)
}

func TestCollectionsInPages(t *testing.T) {
	d := newDirectory(t)
	for i := range 5 {
		uid := fmt.Sprint("user", i)
		d.person(uid)
		d.call("PUT", fmt.Sprintf("/acls/x:%%252F%d", i), `{"description":""}`, 201)
		d.call("PUT", fmt.Sprint("/groups/group", i), `{"description":""}`, 201)
		d.call("PUT", "/groups/superusers/users/"+uid, "", 204)
	}
	for _, path := range []string{"/users", "/groups", "/groups/superusers/users", "/acls"} {
		whole := d.call("GET", path, "", 200).body
		var all, some []any
		var one struct {
			Array []any
			Next  string
		}
		must(t, json.Unmarshal([]byte(whole), &one))
		all = one.Array
		for after, pages := "", 0; pages < 10; pages++ {
			one.Array, one.Next = nil, ""
			must(t, json.Unmarshal([]byte(d.call("GET", path+"?limit=2&after="+url.QueryEscape(after), "", 200).body), &one))
			some = append(some, one.Array...)
			if after = one.Next; after == "" {
				break
			}
		}
		if diff := cmp.Diff(all, some); diff != "" || len(all) != 6 {
			t.Errorf("%s: %s", path, diff)
		}
	}
	d.call("GET", "/users?limit=0", "", 400)
	d.call("GET", "/users?limit=2&limit=3", "", 400)
	d.call("GET", "/users?limit=1&after=zzz", "", 200, `"array": []`)
}

func TestBuildInfoAsksForASignIn(t *testing.T) {
	d := newDirectory(t)
	const path = "/pkgpanda/active.buildinfo.full.json"
	for _, method := range []string{"HEAD", "GET"} {
		got := d.want(req{method: method, path: path}, 401)
		if got.header.Get("WWW-Authenticate") != "acsjwt" {
			t.Errorf("%v", got.header)
		}
		d.want(req{method: method, path: path, uid: "nobody"}, 200)
		d.want(req{method: method, path: path, uid: "svc", service: "/svc"}, 403)
	}
}

func TestWithoutAnIAMItsPathsAreUnknown(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, path := range []string{iamBase + "/users", iamBase + "/auth/login", iamBase + "/auth/jwks", "/pkgpanda/active.buildinfo.full.json"} {
		e.want(req{method: "GET", path: path}, 401)
		e.want(req{method: "GET", path: path, uid: "root"}, 404)
	}
}

func TestASealedStoreHasNoDirectory(t *testing.T) {
	d := newDirectory(t)
	d.iam.fail(seal.ErrSealed)
	d.call("GET", "/users", "", 503, "the secret store is sealed")
	d.call("PUT", "/groups/g", `{"description":""}`, 503, "the secret store is sealed")
	d.call("GET", "/internal/policyquery?rid=x&uid=y&action=read", "", 503)
	d.want(req{method: "GET", path: iamBase + "/auth/providers"}, 200)
}

// lineOf returns the last audit line of an endpoint.
func (d *directory) lineOf(endpoint string) map[string]any {
	d.t.Helper()
	for _, line := range slices.Backward(d.auditLines()) {
		if line["endpoint"] == endpoint {
			return line
		}
	}
	d.t.Fatalf("no audit line of %s", endpoint)
	return nil
}

func TestSignInsAndChangesAreAudited(t *testing.T) {
	d := newDirectory(t)
	d.person("alice")
	d.call("PUT", "/acls/x:%252Fy", `{"description":""}`, 201)
	d.call("PUT", "/acls/x:%252Fy/users/alice/read", "", 204)
	login := func(body string, status int) {
		d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: body}, status)
	}
	for endpoint, object := range map[string]string{"iam.users.create": "users/alice", "iam.acls.create": "acls/x:/y", "iam.grants.user.create": "acls/x:/y/users/alice/read"} {
		line := d.lineOf(endpoint)
		if line["object"] != object || line["uid"] != "root" || line["outcome"] != "allowed" || line["resource"] != "dcos:superuser" {
			t.Errorf("%v", line)
		}
	}
	login(`{"uid":"alice","password":"password of alice"}`, 200)
	if line := d.lineOf("iam.sign-in"); line["uid"] != "alice" || line["object"] != "users/alice" || line["outcome"] != "allowed" || line["reason"] != "signed in" {
		t.Errorf("%v", line)
	}
	login(`{"uid":"alice","password":"wrong"}`, 401)
	if line := d.lineOf("iam.sign-in"); line["uid"] != "" || line["object"] != "users/alice" || line["outcome"] != "denied" || line["reason"] != "Invalid credentials." {
		t.Errorf("%v", line)
	}
	// People type their password where the uid belongs.
	login(`{"uid":"password of alice","password":"x"}`, 401)
	if line := d.lineOf("iam.sign-in"); strings.Contains(fmt.Sprint(line), "password of") || line["outcome"] != "denied" {
		t.Errorf("%v", line)
	}
	d.as("alice", "GET", "/internal/policyquery?rid=x:/y&uid=bob&action=read", "", 403)
	d.call("GET", "/internal/policyquery?rid=x:/y&uid=bob&action=read", "", 200)
	if line := d.lineOf("iam.policyquery"); line["object"] != "acls/x:/y/users/bob/read" || line["uid"] != "root" {
		t.Errorf("%v", line)
	}
}

// TestNothingHappensWithoutAnAuditLog: no account is made, and no token is given.
func TestNothingHappensWithoutAnAuditLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectoryWith(t, edgeOptions{pipes: true})
		d.person("alice")
		must(t, os.Remove(d.audit))
		must(t, os.Mkdir(d.audit, 0o700))
		time.Sleep(time.Second) // so that the path is checked again
		got := d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"uid":"alice","password":"password of alice"}`}, 503, "audit log")
		if got.header["Set-Cookie"] != nil || strings.Contains(got.body, "eyJ") {
			t.Errorf("%+v", got)
		}
		d.call("PUT", "/users/bob", `{"password":"ThisIsAPassword"}`, 503, "nothing was changed")
		must(t, os.Remove(d.audit))
		d.call("GET", "/users/bob", "", 400, "ERR_UNKNOWN_USER_ID")
	})
}

func TestNoPasswordIsInLogsOrErrors(t *testing.T) {
	d := newDirectory(t)
	var answers strings.Builder
	for _, q := range []struct{ method, path, body string }{
		{"PUT", "/users/bob", `{"password":"CANARY-1"}`},
		{"PUT", "/users/bob", `{"password":"CANARY-2"}`},
		{"PUT", "/users/eve", `{"password":["CANARY-3"]}`},
		{"PUT", "/users/eve", `{"password":"CANARY-4"`},
		{"PUT", "/users/eve", `{"password":"CANARY\ud800"}`},
		{"PUT", "/users/eve", `{"CANARY 5 is not a member":"x"}`},
		{"PUT", "/users/eve", `{"public_key":"CANARY-6"}`},
		{"PUT", "/users/eve", `CANARY-7`},
		{"PATCH", "/users/bob", `{"password":"CANARY-8","old_password":"CANARY-9"}`},
		{"POST", "/auth/login", `{"uid":"bob","password":"CANARY-10"}`},
		{"POST", "/auth/login", `{"uid":"CANARY-11","password":"x"}`},
		{"POST", "/auth/login", `{"uid":"bob","token":"CANARY-12"}`},
		{"POST", "/auth/login", `{"uid":"bob","password":{"CANARY-13":1}}`},
		{"POST", "/auth/login", `{"token":"CANARY-14"}`},
	} {
		answers.WriteString(d.do(req{method: q.method, path: iamBase + q.path, uid: "root", header: asJSON, body: q.body}).body)
	}
	answers.WriteString(d.do(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"uid":"bob","password":"CANARY-1"}`}).body)
	if !strings.Contains(answers.String(), `"token"`) {
		t.Fatal("bob could not sign in") // else this test would prove nothing
	}
	answers.Reset()
	answers.WriteString(d.do(req{method: "GET", path: "/metrics"}).body)
	trail, err := os.ReadFile(d.audit)
	must(t, err)
	for name, text := range map[string]string{"log": d.log.String(), "audit log": string(trail), "answers": answers.String()} {
		for _, word := range []string{"CANARY", "eyJ"} {
			if at := strings.Index(text, word); at >= 0 {
				t.Errorf("the %s holds %q: …%s…", name, word, text[max(0, at-100):min(len(text), at+60)])
			}
		}
	}
}
