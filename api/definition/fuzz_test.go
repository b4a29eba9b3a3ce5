package definition_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/definition"
)

// FuzzParse: every reference names an entry of "secrets" or is reported as
// undefined; no secret that a container would get is left out of Wanted; a
// plain reading of the JSON finds the same variables; and nothing is refused in
// words of the document.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"id":"/group/app","env":{"DB":{"secret":"db"},"X":{"secret":"none"},"PLAIN":"v"},"secrets":{"db":{"source":"/group/db"},"bad":{"source":"../x"}}}`,
		`{"id":"a","container":{"docker":{"pullConfig":{"secret":"p"}},"volumes":[{"containerPath":"f","secret":"s","mode":"RW"}]},"secrets":{"p":{"source":"p"}}}`,
		`{"id":"/p","environment":{"A":{"secret":"a"}},"volumes":[{"name":"v","secret":"b"},{"name":"w","secret":"b"}],"containers":[{"name":"c","environment":{"A":{"secret":"b"}},"volumeMounts":[{"name":"v","mountPath":"/x"}],"image":{"pullConfig":{"secret":"a"}}}],"secrets":{"a":{"source":"__dcos_base64__a"},"b":{"source":"x/y"}}}`,
		`{"id":"prod.db","run":{"env":{"A":{"secret":"a"}},"secrets":{"a":{"source":"/a"}},"volumes":[{"containerPath":"/m","secret":"a"}],"ucr":{"image":{"pullConfig":{"secret":"a"}}}}}`,
		`[{"service":"/x","secrets":{"a":{"source":"a"}}},{"id":"/y"}]`,
		`{"id":"/../x"}`, `{"id":"/a","env":{"A":{"secret":"x"},"A":1}}`, `[`, ``, `null`, `{"id":"/a"} x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		all, several, err := definition.Parse(slices.Clone(doc))
		if err != nil {
			var refused *definition.Error
			if !errors.As(err, &refused) && !errors.Is(err, acl.ErrInvalidService) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !json.Valid(doc) || !several && len(all) != 1 {
			t.Fatalf("%q was read as %d definitions", doc, len(all))
		}
		for i := range all {
			checkDefinition(t, &all[i])
		}
		if !several {
			checkEnv(t, doc, &all[0])
		}
	})
}

func checkDefinition(t *testing.T, d *definition.Definition) {
	if d.Kind == 0 || d.Kind != definition.Plain && d.Service.IsRoot() {
		t.Fatalf("%+v", d)
	}
	wanted := d.Wanted()
	for _, r := range d.References {
		if r.Entry >= len(d.Secrets) || r.Defined() && d.Secrets[r.Entry].Name != r.Secret {
			t.Fatalf("%+v is not the entry that it names", r)
		}
		if !r.Defined() && slices.ContainsFunc(d.Secrets, func(s definition.Secret) bool { return s.Name == r.Secret }) {
			t.Fatalf("%+v is defined", r)
		}
		if r.Defined() && r.Use != definition.Unmounted && !slices.Contains(wanted, d.Secrets[r.Entry]) {
			t.Fatalf("%+v is not wanted", r)
		}
		if r.Use == definition.Env && strings.ContainsAny(r.Target, "=\x00") || r.Use == definition.File && slices.Contains(strings.Split(r.Target, "/"), "..") {
			t.Fatalf("target %q", r.Target)
		}
		if r.Container != "" && !slices.Contains(d.Containers, r.Container) {
			t.Fatalf("no container %q", r.Container)
		}
		if r.Use == definition.Env && !slices.ContainsFunc(d.EnvOf(r.Container), func(o definition.Reference) bool { return o == r }) {
			t.Fatalf("%+v does not reach its container", r)
		}
	}
	for _, u := range d.Unused() {
		if slices.Contains(wanted, u) {
			t.Fatalf("%+v is wanted and unused", u)
		}
	}
	for _, s := range d.Secrets {
		if s.Valid() != (s.Path.String() != "") {
			t.Fatalf("%+v", s)
		}
	}
}

// checkEnv finds the variables of an app in another way.
func checkEnv(t *testing.T, doc []byte, d *definition.Definition) {
	if d.Kind != definition.App {
		return
	}
	var lax map[string]any
	if err := json.Unmarshal(doc, &lax); err != nil {
		t.Fatal(err)
	}
	env, _ := lax["env"].(map[string]any)
	n := 0
	for name, value := range env {
		v, _ := value.(map[string]any)
		secret, ok := v["secret"].(string)
		if !ok {
			continue
		}
		n++
		if !slices.ContainsFunc(d.References, func(r definition.Reference) bool {
			return r.Use == definition.Env && r.Target == name && r.Secret == secret
		}) {
			t.Fatalf("%q of %q was overlooked: %+v", name, doc, d.References)
		}
	}
	if got := len(d.Env()); got != n {
		t.Fatalf("%q: %d variables, not %d", doc, got, n)
	}
}
