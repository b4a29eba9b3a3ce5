package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secretstore/internal/vault"
	"secretstore/internal/vault/vaulttest"
)

// handler asks a handler, as root.
type handler struct {
	http.Handler
	token, namespace string
}

func (h handler) Get(ctx context.Context, rest string) (Answer, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+rest, nil)
	r.Header.Set("X-Vault-Token", h.token)
	r.Header.Set("X-Vault-Namespace", h.namespace)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return Answer{w.Code, w.Body.Bytes()}, nil
}

func contents(t *testing.T, get Getter, o vault.Options) (map[string][]any, *vault.Listing) {
	t.Helper()
	l, err := List(t.Context(), get, o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]any{}
	for _, s := range l.Secrets {
		versions, err := s.Read(t.Context())
		if err != nil {
			t.Errorf("%s: %v", s.Path, err)
		}
		for _, v := range versions {
			name := s.Mount.Path + s.Path
			all[name] = append(all[name], vaulttest.Decode(t, v.JSON()))
		}
	}
	return all, l
}

// TestRecordedServersAreReadValueByValue: all values are those of the storage, except
// for the integer that the KV v2 API rounds.
func TestRecordedServersAreReadValueByValue(t *testing.T) {
	for _, name := range vaulttest.Recorded {
		set := vaulttest.Load(t, name)
		for _, versions := range []int{1, 100} {
			got, l := contents(t, handler{vaulttest.Server(t, name), set.Token, ""}, vault.Options{Versions: versions, Now: vaulttest.Now})
			want := set.Want(versions)
			delete(want, "team1/kv/x/y")
			if kv := want["kv/types"]; kv != nil {
				kv[0].(map[string]any)["big"] = got["kv/types"][0].(map[string]any)["big"]
			}
			if diff := cmp.Diff(want, got); diff != "" || len(l.Problems) > 0 {
				t.Errorf("%s: %v\n%.2000s", name, l.Problems, diff)
			}
		}
	}
}

// fake answers from a table; 404 for everything else.
type fake map[string]string

func (f fake) Get(_ context.Context, rest string) (Answer, error) {
	text, ok := f[rest]
	if !ok {
		return Answer{404, []byte(`{"errors":[]}`)}, nil
	}
	status, body, _ := strings.Cut(text, " ")
	var code int
	if _, err := fmt.Sscan(status, &code); err != nil {
		return Answer{}, errors.New(text)
	}
	return Answer{code, []byte(body)}, nil
}

const twoMounts = `200 {"data":{"a/":{"type":"kv"},"b/":{"type":"kv","options":{"version":"2"}},"sys/":{"type":"system"}}}`

func TestWhatTheTokenMayNotReadIsNamed(t *testing.T) {
	got, l := contents(t, fake{
		"v1/sys/mounts":             "403 {}",
		"v1/sys/internal/ui/mounts": strings.Replace(twoMounts, `"data":{`, `"data":{"auth":{},"secret":{`, 1) + "}",
		"v1/a/?list=true":           `200 {"data":{"keys":["x","closed/","..","a/b","","deep/"]}}`,
		"v1/a/closed/?list=true":    "403 {}",
		"v1/a/deep/?list=true":      `200 {"data":{"keys":["%2F?#"]}}`,
		"v1/a/x":                    `200 {"data":{"value":"1"}}`,
		"v1/a/deep/%252F%3F%23":     `200 {"data":{"value":"2"}}`,
		"v1/b/metadata/?list=true":  `200 {"data":{"keys":["denied","broken","gone"]}}`,
		"v1/b/metadata/denied":      "403 {}",
		"v1/b/metadata/broken":      `200 {"data":{"versions":{"x":{}}}}`,
	}, vault.Options{Versions: 1})
	if want := map[string][]any{"a/x": {map[string]any{"value": "1"}}, "a/deep/%2F?#": {map[string]any{"value": "2"}}}; !cmp.Equal(got, want) {
		t.Errorf("%v", got)
	}
	problems := map[string]int{}
	for _, p := range l.Problems {
		problems[p.Name]++
	}
	if want := map[string]int{"a/": 3, "a/closed/": 1, "b/denied": 1, "b/broken": 1, "b/gone": 1}; !cmp.Equal(problems, want) {
		t.Errorf("%v", l.Problems)
	}
}

func TestErrorsOfTheServerEndTheList(t *testing.T) {
	for _, f := range []fake{
		{}, {"v1/sys/mounts": "away"}, {"v1/sys/mounts": "200 []"}, {"v1/sys/mounts": `200 {"data":{"a/../":{"type":"kv"}}}`},
		{"v1/sys/mounts": twoMounts, "v1/a/?list=true": "away"},
		{"v1/sys/mounts": twoMounts, "v1/b/metadata/?list=true": `200 {"data":{"keys":["x"]}}`, "v1/b/metadata/x": "away"},
	} {
		if l, err := List(t.Context(), f, vault.Options{Versions: 1}); err == nil {
			t.Errorf("%v: %+v", f, l)
		}
	}
}

// endless lists a folder in each folder.
type endless struct{ name string }

func (e endless) Get(_ context.Context, rest string) (Answer, error) {
	if strings.HasSuffix(rest, "mounts") {
		return Answer{200, []byte(`{"a/":{"type":"generic"}}`)}, nil
	}
	return Answer{200, []byte(`{"data":{"keys":["` + e.name + `/"]}}`)}, nil
}

func TestFoldersWithoutEndAreNamed(t *testing.T) {
	l, err := List(t.Context(), endless{"a"}, vault.Options{Versions: 1})
	if err != nil || len(l.Problems) != 1 || !errors.Is(l.Problems[0].Err, ErrDeep) {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestNamesWithoutEndAreGivenUpOn(t *testing.T) {
	l, err := List(t.Context(), endless{strings.Repeat("a", 1<<20)}, vault.Options{Versions: 1})
	if !errors.Is(err, vault.ErrTooLarge) {
		t.Errorf("%v, %v", l, err)
	}
}

// FuzzAnswers: whatever a server answers, names lead nowhere else and nothing panics.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(strings.TrimPrefix(twoMounts, "200 ")))
	f.Add([]byte(`{"data":{"keys":["a","b/"]}}`))
	f.Add([]byte(`{"data":{"data":{"a":1},"current_version":1,"versions":{"1":{"deletion_time":"2026-11-28T16:23:40.5Z"}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseMounts(body)
		for _, m := range all {
			if err != nil || !validPath(strings.TrimSuffix(m.path, "/")) {
				t.Errorf("%q, %v", m.path, err)
			}
		}
		_, _ = parseList(body)
		if m, err := parseMetadata(body); err != nil && m.Versions != nil {
			t.Errorf("%+v with %v", m, err)
		}
		for _, v2 := range []bool{false, true} {
			if o, err := parseSecret(body, v2); err != nil && o.JSON() != nil {
				t.Errorf("%s with %v", o.JSON(), err)
			}
		}
	})
}
