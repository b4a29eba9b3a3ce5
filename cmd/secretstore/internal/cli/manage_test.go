package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// identityServer notes the requests that change something, and knows no resource until
// one is created.
type identityServer struct {
	*httptest.Server
	requests []string
	resource bool
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
	if r.Method == http.MethodGet {
		body, ok := map[string]string{
			"/users":                   `{"array":[{"uid":"alice","description":"A\u001b[31m"}]}`,
			"/users?type=service":      `{"array":[{"uid":"app","is_service":true}]}`,
			"/users/alice":             `{"uid":"alice"}`,
			"/users/alice/groups":      `{"array":[{"group":{"gid":"admins"}}]}`,
			"/users/alice/permissions": `{"direct":[{"rid":"dcos:x","actions":[{"name":"read"}]}],"groups":[]}`,
			"/groups":                  `{"array":[{"gid":"admins"}]}`,
			"/acls":                    `{"array":[{"rid":"dcos:secrets:default:/a"}]}`,
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
		"users password bob":                             {`PATCH /users/bob {"password":"pw123"}`},
		"users delete bob":                               {"DELETE /users/bob"},
		"users revoke-tokens bob":                        {"POST /users/bob/revoke"},
		"sa create app --public-key " + key:              {`PUT /users/app {"public_key":"public"}`},
		"groups create g --description d":                {`PUT /groups/g {"description":"d"}`},
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
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "pw123\n", strings.Fields(command)...)
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
		"__complete groups add-user admins ": "alice\n", "__complete users grant alice ": "dcos:secrets:default:/a\n", "__complete users grant alice x ": "full\n",
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
		"users show nobody": 3, "users create taken": 1, "users grant a dcos:x frob": 2, "users grant a dcos:x read --until soon": 2,
		"users": 2, "users frob": 2, "sa create app": 2,
	} {
		got := call(map[string]string{"SECRETSTORE_SERVER": s.URL}, "pw123\n", strings.Fields(command)...)
		if got.status != status || strings.Contains(got.stderr, "secretstore update") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}
