package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/internal/vault"
	"secretstore/internal/vault/kv"
	"secretstore/internal/vault/vaulttest"
)

// process has no terminal, and keeps what is said.
func process() (*base.Process, *strings.Builder) {
	var errs strings.Builder
	return &base.Process{Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &errs, Getenv: func(string) string { return "" }}, &errs
}

func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// flags are as without flags, with a fixed time.
func flags(change func(*Flags)) *Flags {
	f := &Flags{valueKey: defaultValueKey, versions: 1, gpg: "gpg", testOnlyNow: func() time.Time { return vaulttest.Now }}
	change(f)
	return f
}

func fromDump(t testing.TB, set vaulttest.Set, change func(*Flags)) *Flags {
	return flags(func(f *Flags) {
		f.znodes, f.keyFiles = file(t, string(set.Dump)), []string{file(t, strings.Join(set.Shares, "\n"))}
		change(f)
	})
}

func planOf(t testing.TB, f *Flags) (*Plan, string) {
	t.Helper()
	p, errs := process()
	o, err := f.Open(t.Context(), p, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	plan, err := o.NewPlan(t.Context(), p, acl.Path{})
	if err != nil {
		t.Fatal(err)
	}
	return plan, errs.String()
}

// read reads every source of a plan, with its versions, by path.
func read(t testing.TB, plan *Plan) map[string][]forms.Item {
	t.Helper()
	all := map[string][]forms.Item{}
	for _, s := range plan.Sources {
		item, err := s.Read(t.Context())
		if err != nil {
			t.Errorf("%s: %v", s.Path, err)
			continue
		}
		all[s.Path] = append(item.Earlier, item)
	}
	return all
}

// oddNames renames the secrets of the sets whose names cannot be used here.
const oddNames = `{"secret/names/@secret":"n/1","secret/names/Tilde~Star*":"n/2","secret/names/per%cent":"n/3",
 "secret/names/plus+colon:semi;eq=comma,":"n/4","secret/names/with space":"n/5","secret/unicode/größe":"n/6","secret/unicode/ключ/鍵":"n/7",
 "secret/later/names/@secret":"l/1","secret/later/names/Tilde~Star*":"l/2","secret/later/names/per%cent":"l/3",
 "secret/later/names/plus+colon:semi;eq=comma,":"l/4","secret/later/names/with space":"l/5","secret/later/unicode/größe":"l/6","secret/later/unicode/ключ/鍵":"l/7",
 "kv/unicode/größe/鍵":"k/1","kv/with space/_x":"k/2","up/größe":"u/1"}`

// renamesFor returns those of oddNames that a set has, as a file.
func renamesFor(t testing.TB, names map[string][]any) (name string, to renames) {
	t.Helper()
	all, err := parseRenames([]byte(oddNames))
	if err != nil {
		t.Fatal(err)
	}
	to = renames{}
	var lines []string
	for odd, path := range all {
		if names[odd] != nil {
			to[odd] = path
			lines = append(lines, fmt.Sprintf("%q:%q", odd, *path))
		}
	}
	return file(t, "{"+strings.Join(lines, ",")+"}"), to
}

// checkValues compares each secret, as JSON or as its only text, with what must come
// out.
func checkValues(t *testing.T, set vaulttest.Set, plan *Plan, versions int, to renames, drop ...string) {
	t.Helper()
	if plan.Blocked != nil || len(plan.Failed) > 0 {
		t.Fatalf("%v, %v", plan.Blocked, plan.Failed)
	}
	want := set.Want(versions)
	for _, name := range drop {
		delete(want, name)
	}
	got := read(t, plan)
	if len(got) != len(want) {
		t.Errorf("%d secrets, want %d", len(got), len(want))
	}
	for name, data := range want {
		path := strings.TrimPrefix(name, "secret/")
		if to[name] != nil {
			path = *to[name]
		}
		items := got[path]
		if len(items) != len(data) {
			t.Errorf("%s: %d versions, want %d", path, len(items), len(data))
			continue
		}
		for n, item := range items {
			if object, ok := data[n].(map[string]any); ok && len(object) == 1 {
				if text, ok := object["value"].(string); ok {
					if string(item.Value) != text {
						t.Errorf("%s is %.60q, want %.60q", path, item.Value, text)
					}
					continue
				}
			}
			if diff := cmp.Diff(data[n], vaulttest.Decode(t, item.Value)); diff != "" {
				t.Errorf("%s: %.500s", path, diff)
			}
		}
	}
}

func TestDumpsBecomeSecretsValueByValue(t *testing.T) {
	for _, name := range vaulttest.Names {
		t.Run(name, func(t *testing.T) {
			set := vaulttest.Load(t, name)
			for _, versions := range []int{1, 100} {
				rename, to := renamesFor(t, set.Want(1))
				plan, _ := planOf(t, fromDump(t, set, func(f *Flags) { f.as, f.rename, f.versions = asJSON, rename, versions }))
				checkValues(t, set, plan, versions, to)
			}
		})
	}
}

func TestRunningServersBecomeSecretsValueByValue(t *testing.T) {
	for _, name := range vaulttest.Recorded {
		set := vaulttest.Load(t, name)
		srv := httptest.NewServer(vaulttest.Server(t, name))
		defer srv.Close()
		rename, to := renamesFor(t, set.Want(1))
		plan, said := planOf(t, flags(func(f *Flags) {
			f.vault, f.vaultToken, f.as, f.rename, f.versions = srv.URL, file(t, set.Token+"\n"), asJSON, rename, 100
		}))
		v2 := set.Want(1)["kv/types"] != nil
		if v2 != strings.Contains(said, "2^53") {
			t.Errorf("%s: %q about rounded integers", name, said)
		}
		drop := []string{"team1/kv/x/y"}
		if v2 {
			drop = append(drop, "kv/types") // see the warning
			for n, s := range plan.Sources {
				if s.Path == "kv/types" {
					plan.Sources = append(plan.Sources[:n], plan.Sources[n+1:]...)
					break
				}
			}
		}
		checkValues(t, set, plan, 100, to, drop...)
		p, _ := process()
		if changed, err := plan.Changes(t.Context(), p); err != nil || len(changed) > 0 {
			t.Errorf("%s: changes %v, %v", name, changed, err)
		}
	}
}

func TestNothingIsDecidedWithoutTheUser(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.8.3")
	plan, _ := planOf(t, fromDump(t, set, func(*Flags) {}))
	if plan.Blocked == nil || !strings.Contains(plan.Blocked.Error(), "--as") || !strings.Contains(plan.Blocked.Error(), "--rename") {
		t.Fatalf("%v", plan.Blocked)
	}
	var out strings.Builder
	if err := plan.Report.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"secret/", "legacy/nested/", "KV v1", "value", "number", `"secret/names/with space": "names/with-space"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	// No value of any secret is in what is printed.
	for name, versions := range set.Want(1) {
		for member, value := range versions[0].(map[string]any) {
			if text, ok := value.(string); ok && len(text) > 6 && strings.Contains(out.String(), text) {
				t.Errorf("the table has the value of %s in %s", member, name)
			}
		}
	}
}

// TestDamagedMetadataAreInTheTable, beside the secrets that are damaged.
func TestDamagedMetadataAreInTheTable(t *testing.T) {
	mount := &vault.Mount{Path: "kv/", Kind: "KV v2", Damaged: 2}
	r := newReport(&inventory{mounts: []*vault.Mount{mount}})
	r.damaged(record{mount: mount})
	var out strings.Builder
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), " 3\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// object runs a mapping over one object.
func object(t *testing.T, m mapping, text string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "sys/mounts"):
			fmt.Fprint(w, `{"data":{"m/":{"type":"kv"}}}`)
		case r.URL.RawQuery != "":
			fmt.Fprint(w, `{"data":{"keys":["s"]}}`)
		default:
			fmt.Fprintf(w, `{"data":%s}`, text)
		}
	}))
	defer srv.Close()
	plan, _ := planOf(t, flags(func(f *Flags) {
		f.vault, f.vaultToken = srv.URL, file(t, "x")
		f.as, f.valueKey, f.base64Key = m.as, m.valueKey, m.base64Key
	}))
	switch {
	case plan.Blocked != nil:
		return "blocked"
	case len(plan.Failed) > 0:
		return plan.Failed[0].Why
	}
	var all []string
	for path, versions := range read(t, plan) {
		kind := ""
		if versions[0].Binary {
			kind = "bytes "
		}
		all = append(all, path+"="+kind+string(versions[0].Value))
	}
	if len(all) == 2 && all[0] > all[1] {
		all[0], all[1] = all[1], all[0]
	}
	return strings.Join(all, " ")
}

func TestWhatAnObjectBecomes(t *testing.T) {
	for _, tt := range []struct {
		as, value, base64, object, want string
	}{
		{"", "value", "", `{"value":"x"}`, "m/s=x"},
		{"", "value", "", `{"value":1}`, "blocked"},
		{"", "value", "", `{"value":"x","y":"z"}`, "blocked"},
		{"", "value", "", `{}`, "blocked"},
		{"", "pw", "", `{"pw":"x"}`, "m/s=x"},
		{"", "pw", "", `{"value":"x"}`, "blocked"},
		{"", "value", "file", `{"file":"AAE="}`, "m/s=bytes \x00\x01"},
		{"", "value", "file", `{"file":"AAE"}`, "m/s=bytes \x00\x01"},
		{"", "value", "file", `{"file":"?"}`, `the member "file" is not base64`},
		{"value", "value", "", `{"value":"x","y":"z"}`, "m/s=x"},
		{"value", "value", "", `{"value":12345678901234567890,"y":"z"}`, "m/s=12345678901234567890"},
		{"value", "value", "", `{"y":"z","x":1}`, `has no member "value"`},
		{"value", "value", "file", `{"file":"AAE=","y":1}`, "m/s=bytes \x00\x01"},
		{"value", "value", "file", `{"file":"AAE=","value":"x"}`, `has both members "value" and "file"`},
		{"json", "value", "", `{"value":"x"}`, "m/s=x"},
		{"json", "value", "", `{"n": 1e+300, "h":"\u003c"}`, `m/s={"n":1e+300,"h":"<"}`},
		{"json", "value", "", `{}`, "m/s={}"},
		{"split", "value", "file", `{"a":"x","file":"AA=="}`, "m/s/a=x m/s/file=bytes \x00"},
		{"split", "value", "", `{"a":[1,{"b":null}],"c":""}`, `m/s/a=[1,{"b":null}] m/s/c=`},
		{"split", "value", "", `{}`, "has no members to split it into"},
		{"split", "value", "", `{"a b":"x","c":"y"}`, "blocked"},
	} {
		if got := object(t, mapping{tt.as, tt.value, tt.base64}, tt.object); got != tt.want {
			t.Errorf("--as %s --value-key %s --base64-key %s, %s: %q, want %q", tt.as, tt.value, tt.base64, tt.object, got, tt.want)
		}
	}
}

func TestMountsAndNamespacesInPaths(t *testing.T) {
	set := vaulttest.Load(t, "openbao-2.6.2")
	for _, tt := range []struct {
		change func(*Flags)
		path   string
		n      int
	}{
		{func(f *Flags) { f.namespace = "team1" }, "kv/x/y", 1},
		{func(f *Flags) { f.namespace, f.mounts = "/team1/", []string{"kv"} }, "x/y", 1},
		{func(f *Flags) { f.mounts = []string{"near"} }, "l/x", 1},
		{func(f *Flags) { f.mounts = []string{"near", "legacy/nested"} }, "near/l/x", 3},
	} {
		plan, _ := planOf(t, fromDump(t, set, func(f *Flags) { f.as = asJSON; tt.change(f) }))
		got := read(t, plan)
		if got[tt.path] == nil || len(got) != tt.n {
			t.Errorf("%s: %v", tt.path, got)
		}
	}
	p, _ := process()
	o, err := fromDump(t, set, func(f *Flags) { f.mounts = []string{"nosuch"} }).Open(t.Context(), p, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.NewPlan(t.Context(), p, acl.Path{}); err == nil {
		t.Error("a mount that does not exist is not an error")
	}
}

// TestPathsOfMounts: a namespace or mount is left out only where it is the only one, and a
// secret whose path begins as its namespace keeps it.
func TestPathsOfMounts(t *testing.T) {
	for _, tt := range []struct {
		namespace, mount string // of the flags
		of               vault.Mount
		path             string
	}{
		{"", "", vault.Mount{Path: "secret/"}, "team1/db"},
		{"", "", vault.Mount{Path: "kv/"}, "kv/team1/db"},
		{"", "", vault.Mount{Namespace: "team1/", Path: "secret/"}, "team1/secret/team1/db"},
		{"", "kv", vault.Mount{Path: "kv/"}, "team1/db"},
		{"", "kv", vault.Mount{Namespace: "team1/", Path: "kv/"}, "team1/team1/db"},
		{"team1", "", vault.Mount{Namespace: "team1/", Path: "secret/"}, "team1/db"},
		{"team1", "", vault.Mount{Namespace: "team1/", Path: "kv/"}, "kv/team1/db"},
		{"team1", "kv", vault.Mount{Namespace: "team1/", Path: "kv/"}, "team1/db"},
	} {
		f := flags(func(f *Flags) {
			f.namespace = tt.namespace
			if tt.mount != "" {
				f.mounts = []string{tt.mount}
			}
		})
		inv, err := f.inventory(&vault.Listing{Mounts: []*vault.Mount{&tt.of}, Secrets: []vault.Secret{{Mount: &tt.of, Path: "team1/db"}}})
		if err != nil || inv.records[0].path != tt.path {
			t.Errorf("--from-namespace %q --mount %q, %+v: %q, %v", tt.namespace, tt.mount, tt.of, inv.records[0].path, err)
		}
	}
}

func TestMetadataBecomesLabels(t *testing.T) {
	set := vaulttest.Load(t, "vault-1.14")
	rename, _ := renamesFor(t, map[string][]any{"kv/unicode/größe/鍵": {1}, "kv/with space/_x": {1}})
	plan, _ := planOf(t, fromDump(t, set, func(f *Flags) { f.as, f.mounts, f.rename = asJSON, []string{"kv"}, rename }))
	item := read(t, plan)["app/meta"][0]
	if item.Labels == nil || !cmp.Equal(*item.Labels, []string{"owner=team-a", "rotation=2026-12", "Ünïcode=wört"}) {
		t.Errorf("%v", item.Labels)
	}
}

func TestKeysAreRefusedWithAReason(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.5.3")
	for name, tt := range map[string]struct{ keys, want string }{
		"too few": {strings.Join(set.Shares[:2], " "), "2 of 3"},
		"rubbish": {"hello", "33 for a share"},
		"empty":   {"\n", "is empty"},
		"wrong":   {strings.Repeat(strings.Repeat("01", 32)+"07\n"+strings.Repeat("02", 32)+"08\n"+strings.Repeat("03", 32)+"09\n", 1), "does not open this storage"},
	} {
		f := fromDump(t, set, func(f *Flags) { f.keyFiles = []string{file(t, tt.keys)} })
		p, _ := process()
		if _, err := f.Open(t.Context(), p, time.Minute); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, form := range []string{`{"keys":["%s","%s","%s"]}`, `{"unseal_keys_hex":["%s","%s","%s"]}`, "%s\n%s\r\n %s\n"} {
		f := fromDump(t, set, func(f *Flags) {
			f.keyFiles = []string{file(t, fmt.Sprintf(form, set.Shares[4], set.Shares[1], set.Shares[2]))}
		})
		p, _ := process()
		if o, err := f.Open(t.Context(), p, time.Minute); err != nil {
			t.Errorf("%s: %v", form, err)
		} else {
			o.Close()
		}
	}
}

// TestChangesMeanwhileAreReported: somebody writes while the import runs.
func TestChangesMeanwhileAreReported(t *testing.T) {
	secrets := map[string]string{"same": "1", "other": "1", "gone": "1", "closed": "1", "labels": "1"}
	closed, labels := false, "a"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/secrets/v1/secret/default/")
		switch value, ok := secrets[name]; {
		case name == "":
			var names []string
			for n := range secrets {
				names = append(names, fmt.Sprintf("%q", n))
			}
			fmt.Fprintf(w, `{"array":[%s]}`, strings.Join(names, ","))
		case !ok:
			http.NotFound(w, r)
		case name == "closed" && closed:
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"value":%q,"labels":[%q]}`, value, labels)
		}
	}))
	defer srv.Close()
	plan, _ := planOf(t, flags(func(f *Flags) { f.dcos = srv.URL }))
	read(t, plan)
	delete(secrets, "gone")
	secrets["other"], secrets["new"] = "2", "1"
	closed = true
	p, _ := process()
	changed, err := plan.Changes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range changed {
		got[f.Name], _, _ = strings.Cut(f.Why, ";")
	}
	want := map[string]string{
		"other": "has changed in the source", "new": "is new in the source", "gone": "was imported, but has since gone from the source",
		"closed": "was imported, but cannot be read again: the token may not read it",
	}
	if !cmp.Equal(got, want) {
		t.Errorf("%v", got)
	}
	labels = "b"
	if changed, err = plan.Changes(t.Context(), p); err != nil || len(changed) != 6 {
		t.Errorf("other labels: %v, %v", changed, err)
	}
}

// TestMembersThatChangeMeanwhileAreReported: each member of an object is imported by itself.
func TestMembersThatChangeMeanwhileAreReported(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second string // what the two members are imported from
		want          int
	}{
		"nothing":      {`{"a":"1","b":"1"}`, `{"a":"1","b":"1"}`, 0},
		"both members": {`{"a":"2","b":"2"}`, `{"a":"2","b":"2"}`, 0}, // as it is in the end
		"in between":   {`{"a":"1","b":"1"}`, `{"a":"2","b":"2"}`, 1},
		"a new member": {`{"a":"1","b":"1","c":"1"}`, `{"a":"1","b":"1","c":"1"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			now := `{"a":"1","b":"1"}`
			mount := &vault.Mount{Path: "kv/"}
			r := record{mount, "kv/s", "s", func(context.Context) (content, error) {
				o, err := kv.ParseObject([]byte(now))
				return content{objects: []kv.Object{o}}, err
			}}
			o := &Origin{origin: oneRecord{r}, mapping: mapping{as: asSplit, valueKey: "value"}}
			p, _ := process()
			plan, err := o.NewPlan(t.Context(), p, acl.Path{})
			if err != nil || len(plan.Sources) != 2 {
				t.Fatalf("%v, %v", plan, err)
			}
			for n, s := range plan.Sources {
				now = []string{tt.first, tt.second}[n]
				if _, err := s.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if changed, err := plan.Changes(t.Context(), p); err != nil || len(changed) != tt.want {
				t.Errorf("%v, %v", changed, err)
			}
		})
	}
}

// oneRecord is a source that others write to.
type oneRecord struct{ r record }

func (o oneRecord) list(context.Context) (*inventory, error) {
	return &inventory{mounts: []*vault.Mount{o.r.mount}, records: []record{o.r}}, nil
}

func (oneRecord) changes() bool { return true }

func (oneRecord) close() {}

// TestAnotherStoreIsReadWhole: the description and labels of bytes are elsewhere than those
// of texts, and a list may say that it lacks names.
func TestAnotherStoreIsReadWhole(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/secrets/v1/secret/default/")
		w.Header().Set("Content-Type", "application/octet-stream")
		switch {
		case name == "" && r.FormValue("after") == "":
			fmt.Fprint(w, `{"array":["changed","ours"],"next":"ours","incomplete":true}`)
		case name == "":
			fmt.Fprint(w, `{"array":["theirs"]}`)
		case r.FormValue("versions") == "" || name == "theirs":
			if name != "theirs" {
				w.Header().Set("ETag", `"1"`)
			}
			fmt.Fprint(w, "\x00")
		case name == "changed":
			fmt.Fprint(w, `{"versions":[{"version":2,"etag":"\"2\""}],"description":"of another value","deleted":null}`)
		default:
			fmt.Fprint(w, `{"versions":[{"version":1,"etag":"\"1\""}],"description":"d","labels":["l"],"deleted":null}`)
		}
	}))
	defer srv.Close()
	plan, _ := planOf(t, flags(func(f *Flags) { f.dcos = srv.URL }))
	got := map[string]string{}
	for path, items := range read(t, plan) {
		item := items[0]
		got[path] = fmt.Sprintf("%q, %v", item.Value, item.Binary)
		if item.Description != nil && item.Labels != nil {
			got[path] += ", " + *item.Description + ", " + strings.Join(*item.Labels, " ")
		}
	}
	if want := map[string]string{"ours": `"\x00", true, d, l`, "theirs": `"\x00", true`, "changed": `"\x00", true`}; !cmp.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if len(plan.Failed) != 1 || !strings.Contains(plan.Failed[0].Why, "may be missing") {
		t.Errorf("%v", plan.Failed)
	}
}

// TestHostileSourcesAreGivenUpOn: no answer makes the command follow, wait or allocate
// without an end.
func TestHostileSourcesAreGivenUpOn(t *testing.T) {
	slow := make(chan struct{})
	defer close(slow)
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusTemporaryRedirect)
		}, "redirect"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		}, "deadline"},
		"html":                {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, "not a list"},
		"refused":             {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "--from-token-file"},
		"error":               {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "500"},
		"list that goes back": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"array":[],"next":"a"}`) }, "goes back"},
		"names": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"array":["a"%s],"next":%q}`, strings.Repeat(`,"a"`, 100_000), r.FormValue("after")+"x")
		}, vault.ErrTooLarge.Error()},
	} {
		srv := httptest.NewServer(http.HandlerFunc(tt.answer))
		p, _ := process()
		timeout := time.Minute
		if name == "slow" {
			timeout = 300 * time.Millisecond
		}
		o, err := flags(func(f *Flags) { f.dcos = srv.URL }).Open(t.Context(), p, timeout)
		if err != nil {
			t.Fatal(err)
		}
		_, err = o.NewPlan(t.Context(), p, acl.Path{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !Hopeless(err) {
			t.Errorf("%s: %v", name, err)
		}
		srv.CloseClientConnections()
		srv.Close()
		o.Close()
	}
}

// manyMembers is a source of one object.
type manyMembers struct{ object kv.Object }

func (m manyMembers) list(context.Context) (*inventory, error) {
	mount := &vault.Mount{Path: "/"}
	return &inventory{mounts: []*vault.Mount{mount}, records: []record{{mount, strings.Repeat("a", 1<<20), "a", func(context.Context) (content, error) {
		return content{objects: []kv.Object{m.object}}, nil
	}}}}, nil
}

func (manyMembers) changes() bool { return false }

func (manyMembers) close() {}

// TestMembersWithoutEndAreGivenUpOn: a proposal repeats the name of the object for each
// of its members.
func TestMembersWithoutEndAreGivenUpOn(t *testing.T) {
	members := map[string]int{}
	for n := range 1000 {
		members[fmt.Sprint(n)] = n
	}
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	object, err := kv.ParseObject(data)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := process()
	o := &Origin{origin: manyMembers{object}, mapping: mapping{valueKey: defaultValueKey}}
	if _, err := o.NewPlan(t.Context(), p, acl.Path{}); err == nil || !strings.Contains(err.Error(), vault.ErrTooLarge.Error()) || !Hopeless(err) {
		t.Error(err)
	}
}

func TestSourceThatIsBusyIsAskedAgain(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case asked.Add(1) <= 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.RawQuery != "":
			fmt.Fprint(w, `{"array":["a"]}`)
		default:
			w.Header().Set("Content-Type", "application/octet-stream")
			fmt.Fprint(w, "bytes")
		}
	}))
	defer srv.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	plan, _ := planOf(t, flags(func(f *Flags) { f.dcos, f.ca = srv.URL, ca }))
	if got := read(t, plan); len(got) != 1 || string(got["a"][0].Value) != "bytes" || !got["a"][0].Binary {
		t.Errorf("%v", got)
	}
	p, _ := process()
	o, err := flags(func(f *Flags) { f.dcos = srv.URL }).Open(t.Context(), p, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.NewPlan(t.Context(), p, acl.Path{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an unknown certificate: %v", err)
	}
}

func TestNamesOfASourceDoNotDriveTheTerminal(t *testing.T) {
	r := Report{Names: renames{"a\x1b[2J\u009b2J\u202e\U000e0001": new(string)}, why: map[string]string{"a\x1b\u009b": "why"},
		Mounts: []*MountReport{{Mount: "m\x1b/", Members: map[string]*MemberReport{"\u009b": {Secrets: 1}}}}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) {
		t.Errorf("%q", out.String())
	}
	if _, err := parseRenames([]byte(graphic([]byte("{\"\u009b\":null,\"\U000e0001\":null}")))); err != nil {
		t.Error(err)
	}
}

func TestNamesOfAServerLeadNowhereElse(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			fmt.Fprint(w, `{"array":["../../store","a//b","","x?y=1","ok"]}`)
			return
		}
		if p := r.URL.EscapedPath(); p != "/secrets/v1/secret/default/ok" && p != "/secrets/v1/secret/default/x%3Fy=1" {
			t.Errorf("asked for %s", p)
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprint(w, `{"value":"v"}`)
	}))
	defer srv.Close()
	plan, _ := planOf(t, flags(func(f *Flags) { f.dcos = srv.URL + "/secrets/v1/" }))
	if plan.Blocked == nil || len(plan.Failed) != 3 || len(plan.Report.Names) != 1 || *plan.Report.Names["x?y=1"] != "x-y-1" {
		t.Errorf("%v, %v, %v", plan.Blocked, plan.Failed, plan.Report.Names)
	}
}

func TestBackupFiles(t *testing.T) {
	const data = "../../../../../internal/dcosbackup/testdata/"
	for name, tt := range map[string]struct {
		change func(*Flags)
		n      int
		said   string
	}{
		"tar, default key": {func(f *Flags) { f.tar = data + "dcos-secrets-backup-default-key.tar" }, 9, "everybody can decrypt it"},
		"tar, own key": {func(f *Flags) {
			f.tar, f.cipherKey = data+"dcos-secrets-backup-own-key.tar", file(t, "0123456789abcdef0123456789abcdef\n")
		}, 8, "not authenticated"},
		"dcos-migrate":      {func(f *Flags) { f.migrate = data + "dcos-migrate" }, 8, ""},
		"dcos-migrate file": {func(f *Flags) { f.migrate = data + "dcos-migrate-script.json" }, 8, ""},
	} {
		plan, said := planOf(t, flags(tt.change))
		for range 2 { // a secret can be read again
			got := read(t, plan)
			if plan.Blocked != nil || len(got) != tt.n || !strings.Contains(said, tt.said) {
				t.Fatalf("%s: %v, %d secrets, %q", name, plan.Blocked, len(got), said)
			}
			if v := got["group/db-password"][0]; string(v.Value) != "correct horse" || v.Binary {
				t.Errorf("%s: %q", name, v.Value)
			}
			if v := got["bin/zero"][0]; !bytes.Equal(v.Value, make([]byte, 16)) || !v.Binary {
				t.Errorf("%s: %q", name, v.Value)
			}
			clearAll(got)
		}
	}
	p, _ := process()
	if _, err := flags(func(f *Flags) { f.tar = data + "dcos-secrets-backup-own-key.tar" }).Open(t.Context(), p, time.Minute); err == nil || !strings.Contains(err.Error(), "--cipher-key-file") {
		t.Errorf("%v", err)
	}
}

func clearAll(all map[string][]forms.Item) {
	for _, versions := range all {
		for _, v := range versions {
			clear(v.Value)
		}
	}
}

func TestConflictsAreNotDecided(t *testing.T) {
	under, err := acl.ParseFolder("u")
	if err != nil {
		t.Fatal(err)
	}
	to, out := "c", (*string)(nil)
	p := newPlaces(renames{"y": &to, "z": out, "typo": &to}, under)
	for _, tt := range []struct {
		t    target
		path string
	}{
		{target{"a", "b", ""}, "u/b"},
		{target{"b", "b", ""}, ""},
		{target{"x", ".", ""}, ""},
		{target{"y", "?", ""}, "u/c"},
		{target{"z", "z", ""}, ""},
		{target{"w", "a//b", ""}, ""},
		{target{"v", "/a", ""}, ""},
		{target{"s", "s", "m"}, "u/s/m"},
		{target{"s", "s", "m n"}, ""},
		{target{"y", "?", "m"}, "u/c/m"},
		{target{"z", "z", "m"}, ""},
	} {
		p.see(tt.t.full())
		if path, ok := p.place(tt.t); path != tt.path || ok != (path != "") {
			t.Errorf("%+v: %q, %v", tt.t, path, ok)
		}
	}
	got := map[string]string{}
	for name, path := range p.proposals() {
		got[name] = *path
	}
	if want := map[string]string{"b": "b-2", "x": "_", "w": "a/b", "v": "a", "s/m n": "s/m-n"}; !cmp.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if unused := p.unused(); !cmp.Equal(unused, []string{"typo"}) {
		t.Errorf("%v", unused)
	}
}

// TestNamesOfUndecidedObjectsAreProposed: those of the records, and those that their
// members would have. Whatever is decided then, the proposals are all that it needs.
func TestNamesOfUndecidedObjectsAreProposed(t *testing.T) {
	under, err := acl.ParseFolder("u")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string][]string{ // names of records, with their members
		"plain": {"user", "pass word"}, "with space": {"a", "b?"}, "größe": {"a"}, "kept": {"ä", "ö"}, "out": {"ü ü"},
	}
	propose := func(r renames) renames {
		p := newPlaces(r, under)
		for _, name := range slices.Sorted(maps.Keys(sources)) {
			p.propose(target{name, name, ""}, sources[name])
		}
		return p.proposals()
	}
	to := "kept/a"
	given := renames{"kept/ä": &to, "out": nil}
	proposed := propose(given)
	got := map[string]string{}
	for name, to := range proposed {
		got[name] = *to
	}
	want := map[string]string{
		"plain/pass word": "plain/pass-word", "with space": "with-space", "with space/b?": "with-space/b-", "größe": "gr--e", "kept/ö": "kept/-",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	maps.Copy(given, proposed)
	if more := propose(given); len(more) > 0 {
		t.Errorf("%v", more)
	}
	for _, split := range []bool{false, true} {
		p := newPlaces(given, under)
		for name, members := range sources {
			if !split {
				members = []string{""}
			}
			p.see(name)
			for _, member := range members {
				p.see(withMember(name, member))
				if path, ok := p.place(target{name, name, member}); ok != (name != "out") {
					t.Errorf("split: %v, %s, %s: %s", split, name, member, path)
				}
			}
			for _, member := range sources[name] {
				p.see(withMember(name, member))
			}
		}
		if unused := p.unused(); len(unused) > 0 {
			t.Errorf("split: %v, not used: %v", split, unused)
		}
	}
}

// TestManyNamesWithOneProposalDoNotTakeForever: each gets a number, without a look at
// all numbers before.
func TestManyNamesWithOneProposalDoNotTakeForever(t *testing.T) {
	const names = 100_000
	p := newPlaces(nil, acl.Path{})
	for n := range names {
		p.place(target{fmt.Sprint(n), "ä", ""})
	}
	seen := map[string]bool{}
	for _, to := range p.proposals() {
		if !valid(*to) || seen[*to] {
			t.Fatalf("%q", *to)
		}
		seen[*to] = true
	}
	if len(seen) != names {
		t.Errorf("%d proposals", len(seen))
	}
}

// FuzzNames: a proposal is valid, and no path is one that its secret did not have.
func FuzzNames(f *testing.F) {
	f.Add("a/b c", "a/b-c")
	f.Add("../..", "%2e")
	f.Fuzz(func(t *testing.T, first, second string) {
		if s := sanitize(first); !valid(s) {
			t.Errorf("%q becomes %q", first, s)
		}
		p := newPlaces(nil, acl.Path{})
		for n, path := range []string{first, second} {
			if got, ok := p.place(target{fmt.Sprint(n), path, ""}); ok && got != path {
				t.Errorf("%q becomes %q", path, got)
			}
		}
		p.propose(target{"record", first, ""}, []string{second})
		seen := map[string]bool{}
		for _, to := range p.proposals() {
			if !valid(*to) || seen[*to] {
				t.Errorf("%q, %q: %q", first, second, *to)
			}
			seen[*to] = true
		}
		if r, err := parseRenames([]byte(first)); err == nil {
			for _, to := range r {
				if to != nil && !valid(*to) {
					t.Errorf("%q", *to)
				}
			}
		}
		_ = quoted(first)
	})
}
