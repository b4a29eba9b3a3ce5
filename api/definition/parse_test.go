package definition_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secretstore/acl"
	"secretstore/api/definition"
)

// summary says in short what a definition names.
func summary(d definition.Definition) []string {
	all := []string{fmt.Sprint([]string{"?", "app", "pod", "job", "plain"}[d.Kind], " ", d.Service)}
	for _, s := range d.Secrets {
		all = append(all, s.Name+" = "+s.Path.String())
	}
	for _, r := range d.References {
		text := r.Place() + " <- "
		if r.Defined() {
			text += d.Secrets[r.Entry].Name
		} else {
			text += "undefined " + r.Secret
		}
		if r.Writable {
			text += ", writable"
		}
		all = append(all, text)
	}
	return all
}

func TestEveryFormIsRead(t *testing.T) {
	for _, row := range []struct {
		name, doc string
		want      []string
	}{
		{"app with variables", `{"id":"/group/app","cmd":"sleep 1","instances":2,"cpus":0.1,
			"env":{"PLAIN":"x","DB":{"secret":"db"},"NUMBER":1,"OTHER":{"unknown":true}},
			"secrets":{"db":{"source":"group/db"},"slash":{"source":"/group/app/key"}}}`,
			[]string{"app /group/app", "db = group/db", "slash = group/app/key", `environment variable "DB" <- db`}},
		{"members in any order", `{"secrets":{"b":{"source":"b"},"a":{"source":"a"}},"env":{"B":{"secret":"b"},"A":{"secret":"a"}},"id":"x"}`,
			[]string{"app /x", "b = b", "a = a", `environment variable "B" <- b`, `environment variable "A" <- a`}},
		{"app with files and a pull config", `{"id":"group/app","container":{"type":"MESOS",
			"docker":{"image":"private/image","pullConfig":{"secret":"pull"},"forcePullImage":true},
			"volumes":[{"containerPath":"data","persistent":{"size":10},"mode":"RW"},{"containerPath":"tls/key.pem","secret":"key"},
				{"containerPath":"/run/keytab","hostPath":"","secret":"keytab","mode":"RW"}]},
			"secrets":{"pull":{"source":"/pullconfig"},"key":{"source":"group/key"},"keytab":{"source":"group/__dcos_base64__keytab"}}}`,
			[]string{"app /group/app", "pull = pullconfig", "key = group/key", "keytab = group/__dcos_base64__keytab",
				`file "tls/key.pem" <- key`, `file "/run/keytab" <- keytab, writable`, "pull config <- pull"}},
		{"pod", `{"id":"/group/pod","environment":{"ALL":{"secret":"a"},"PLAIN":"x"},"scaling":{"kind":"fixed","instances":1},
			"volumes":[{"name":"v","secret":"b"},{"name":"data","persistent":{"size":1}},{"name":"left","secret":"c"}],
			"containers":[
				{"name":"one","environment":{"OWN":{"secret":"b"}},"volumeMounts":[{"name":"v","mountPath":"etc/b"},{"name":"data","mountPath":"data"}],
				 "image":{"kind":"DOCKER","id":"private/one","pullConfig":{"secret":"c"}}},
				{"name":"two","resources":{"cpus":1},"volumeMounts":[{"name":"v","mountPath":"etc/b","readOnly":false}]}],
			"networks":[{"mode":"host"}],"secrets":{"a":{"source":"group/a"},"b":{"source":"group/b"},"c":{"source":"c"}}}`,
			[]string{"pod /group/pod", "a = group/a", "b = group/b", "c = c",
				`environment variable "ALL" <- a`, `environment variable "OWN" of container "one" <- b`, `file "etc/b" of container "one" <- b`,
				`pull config of container "one" <- c`, `file "etc/b" of container "two" <- b, writable`, `volume "left" <- c`}},
		{"job", `{"id":"prod.db.backup","description":"nightly","labels":{},"run":{"cpus":0.01,"mem":32,"disk":0,"cmd":"backup",
			"env":{"PASSWORD":{"secret":"pw"},"PLAIN":"x"},"secrets":{"pw":{"source":"/prod/db/password"},"pull":{"source":"pull"}},
			"volumes":[{"containerPath":"/mnt/pw","secret":"pw"},{"containerPath":"/data","hostPath":"/data","mode":"RW"}],
			"ucr":{"image":{"id":"private/backup","pullConfig":{"secret":"pull"}}}}}`,
			[]string{"job /prod/db/backup", "pw = prod/db/password", "pull = pull",
				`environment variable "PASSWORD" <- pw`, `file "/mnt/pw" <- pw`, "pull config <- pull"}},
		{"job with docker", `{"id":"job","run":{"docker":{"image":"i","pullConfig":{"secret":"p"}},"secrets":{"p":{"source":"p"}}}}`,
			[]string{"job /job", "p = p", "pull config <- p"}},
		{"plain", `{"service":"/group/app","secrets":{"db":{"source":"group/db"},"key":{"source":"/group/key"}}}`,
			[]string{"plain /group/app", "db = group/db", "key = group/key"}},
		{"plain for a job", `{"service":"prod.backup"}`, []string{"plain /prod/backup"}},
		{"plain for the root service", `{"service":"/","secrets":{}}`, []string{"plain /"}},
		{"nothing secret", `{"id":"/a"}`, []string{"app /a"}},
		{"nulls", `{"id":"/a","env":null,"container":{"docker":null,"volumes":null},"secrets":null,"run":null,"containers":null,"apps":null,"service":null}`,
			[]string{"app /a"}},
		{"two names of one source", `{"id":"/a","env":{"X":{"secret":"n"},"Y":{"secret":"m"}},"secrets":{"n":{"source":"s"},"m":{"source":"/s"}}}`,
			[]string{"app /a", "n = s", "m = s", `environment variable "X" <- n`, `environment variable "Y" <- m`}},
		{"a path in place of a name", `{"id":"/a","env":{"PASSWORD":{"secret":"/db/password"}},"secrets":{"db":{"source":"/db/password"}}}`,
			[]string{"app /a", "db = db/password", `environment variable "PASSWORD" <- undefined /db/password`}},
		{"names of any form", `{"id":"/a","env":{"X":{"secret":"über/x y"}},"secrets":{"über/x y":{"source":"s"}}}`,
			[]string{"app /a", "über/x y = s", `environment variable "X" <- über/x y`}},
		{"sources that are no paths", `{"id":"/a","secrets":{"a":{"source":""},"b":{"source":"/"},"c":{"source":"../x"},"d":{"source":"a%2Fb"},"e":{"source":"a b"}}}`,
			[]string{"app /a", "a = ", "b = ", "c = ", "d = ", "e = "}},
		{"unknown parts of any type", `{"id":"/a","volumes":7,"environment":"x","image":[],"container":{"portMappings":[{"env":1}]},"x":{"y":[[[{"secret":"z"}]]]}}`,
			[]string{"app /a"}},
		{"a pod does not read an app's members", `{"id":"/p","containers":[{"name":"c","env":{"X":{"secret":"y"}}}],"env":[1],"container":2}`,
			[]string{"pod /p"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			all, several, err := definition.Parse([]byte(row.doc))
			if err != nil || several || len(all) != 1 {
				t.Fatalf("%d definitions, several %v, %v", len(all), several, err)
			}
			if diff := cmp.Diff(row.want, summary(all[0])); diff != "" {
				t.Error(diff)
			}
			all, several, err = definition.Parse([]byte(" [ " + row.doc + `, {"id":"/second"} ] `))
			if err != nil || !several || len(all) != 2 || !cmp.Equal(summary(all[0]), row.want) || all[1].Service.String() != "/second" {
				t.Errorf("in an array: %d definitions, several %v, %v", len(all), several, err)
			}
		})
	}
}

func TestAnArrayMayBeEmpty(t *testing.T) {
	if all, several, err := definition.Parse([]byte("[]")); len(all) != 0 || !several || err != nil {
		t.Errorf("%v, %v, %v", all, several, err)
	}
}

// An app's id counts from the root, and only slashes separate in it: else the
// app prod.db would be in the space prod.
func TestIDs(t *testing.T) {
	for _, row := range []struct{ doc, want string }{
		{`{"id":"/group/app"}`, "/group/app"},
		{`{"id":"group/app"}`, "/group/app"},
		{`{"id":"app"}`, "/app"},
		{`{"id":"prod.db"}`, "/prod.db"},
		{`{"id":"/a.b/c"}`, "/a.b/c"},
		{`{"id":"prod.db","containers":[]}`, "/prod.db"},
		{`{"id":"prod.db","run":{}}`, "/prod/db"},
		{`{"id":"/prod/db","run":{}}`, "/prod/db"},
		{`{"service":"prod.db"}`, "/prod/db"},
		{`{"service":""}`, "/"},
	} {
		all, _, err := definition.Parse([]byte(row.doc))
		if err != nil || all[0].Service.String() != row.want {
			t.Errorf("%s: %v, %v; want %s", row.doc, all, err, row.want)
		}
	}
	for _, id := range []string{"..", "../a", "/a/../b", "a/..", "/a/./b", "/a//b", "/a/", "//a", "/a b", "/a*", "/ä", "/a%2Fb", "/" + strings.Repeat("x", 256)} {
		for _, doc := range []string{`{"id":"` + id + `"}`, `{"id":"` + id + `","containers":[]}`, `{"id":"` + id + `","run":{}}`, `{"service":"` + id + `"}`} {
			if _, _, err := definition.Parse([]byte(doc)); !errors.Is(err, acl.ErrInvalidService) {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
	for _, doc := range []string{`{}`, `{"id":""}`, `{"id":"/"}`, `{"id":null}`, `{"id":1}`, `{"id":["a"]}`, `{"service":1}`, `{"run":{}}`, `{"ID":"/a"}`,
		`{"id":"` + strings.Repeat("/a", 1000) + `"}`} {
		if _, _, err := definition.Parse([]byte(doc)); err == nil {
			t.Errorf("%s was read", doc)
		}
	}
}

func TestAmbiguousDocumentsAreRefused(t *testing.T) {
	const secrets = `"secrets":{"s":{"source":"s"}}`
	for _, row := range []struct{ doc, where string }{
		{``, ""}, {` `, ""}, {`x`, ""}, {`"app"`, "must be an object"}, {`null`, "must be an object"}, {`7`, "must be an object"},
		{`[1]`, "[0] must be an object"}, {`[[]]`, "[0] must be an object"}, {`[{"id":"/a"},null]`, "[1] must be an object"},
		{`{"id":"/a"} {"id":"/b"}`, "not valid JSON"}, {`{"id":"/a"}]`, "not valid JSON"}, {`{"id":"/a"`, "not valid JSON"}, {`[{"id":"/a"},]`, "not valid JSON"},
		{`{"id":"/a","id":"/b"}`, "not valid JSON"},
		{`{"id":"/a","\u0069d":"/b"}`, "not valid JSON"},
		{`{"id":"/a","x":{"y":1,"y":2}}`, "not valid JSON"},
		{`{"id":"/a","secrets":{"s":{"source":"a"},"s":{"source":"b"}}}`, "not valid JSON"},
		{`{"id":"/a","env":{"X":{"secret":"a"},"X":"b"}}`, "not valid JSON"},
		{"{\"id\":\"/a\",\"x\":\"\xff\"}", "not valid JSON"},
		{`{"id":"/a","x":"\ud800"}`, "not valid JSON"},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested too deeply"},
		{`{"id":"/a","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested too deeply"},
		{`[` + strings.Repeat("1,", 60000) + `1]`, "too many members"},
		{`{"id":"/a","run":{},"containers":[]}`, "only one of"},
		{`{"id":"/a","run":{},"service":"/b"}`, "only one of"},
		// To Marathon, which knows neither "service" nor "run", these are of /a
		// and /a.b.
		{`{"id":"/a","service":"/b","secrets":{"s":{"source":"b/s"}}}`, `both "id" and "service"`},
		{`{"id":"a.b","run":{},"env":{"X":{"secret":"s"}},"secrets":{"s":{"source":"a/s"}}}`, "at once"},
		{`{"id":"a.b","run":{},"container":{}}`, "at once"},
		{`{"id":"a.b","run":{},"environment":{}}`, "at once"},
		{`{"id":"/","apps":[{"id":"/a"}]}`, "is a group"},
		{`[{"id":"/g","groups":[]}]`, "[0] is a group"},
		{`{"id":"/a","env":[]}`, "env must be an object"},
		{`{"id":"/a","env":{"X":{"secret":1}}}`, "env.*.secret must be a string"},
		{`{"id":"/a","env":{"X":{"secret":{}}}}`, "env.*.secret must be a string"},
		{`{"id":"/a","env":{"":{"secret":"s"}}}`, "env has a name"},
		{`{"id":"/a","env":{"A=B":{"secret":"s"}}}`, "env has a name"},
		{`{"id":"/a","env":{"A\u0000":{"secret":"s"}}}`, "env has a name"},
		{`{"id":"/a","secrets":[]}`, "secrets must be an object"},
		{`{"id":"/a","secrets":{"s":"path"}}`, "secrets.* must be an object"},
		{`{"id":"/a","secrets":{"s":{}}}`, "secrets.*.source is missing"},
		{`{"id":"/a","secrets":{"s":null}}`, "secrets.*.source is missing"},
		{`{"id":"/a","secrets":{"s":{"source":1}}}`, "secrets.*.source must be a string"},
		{`{"id":"/a","secrets":{"` + strings.Repeat("n", 257) + `":{"source":"a"}}}`, "too long"},
		{`{"id":"/a","env":{"X":{"secret":"` + strings.Repeat("n", 257) + `"}}}`, "longer than 256"},
		{`{"id":"/a","container":[]}`, "container must be an object"},
		{`{"id":"/a","container":{"volumes":{}}}`, "container.volumes must be an array"},
		{`{"id":"/a","container":{"volumes":["x"]}}`, "container.volumes[0] must be an object"},
		{`{"id":"/a","container":{"volumes":[{},{"secret":["s"],"containerPath":"x"}]}}`, "container.volumes[1].secret must be a string"},
		{`{"id":"/a","container":{"volumes":[{"secret":"s"}]}}`, "container.volumes[0].containerPath is missing"},
		{`{"id":"/a","container":{"volumes":[{"secret":"s","containerPath":"/"}]}}`, "containerPath is missing"},
		{`{"id":"/a","container":{"volumes":[{"secret":"s","containerPath":"../../etc/passwd"}]}}`, "containerPath must not contain .."},
		{`{"id":"/a","container":{"volumes":[{"secret":"s","containerPath":"a/.."}]}}`, "containerPath must not contain .."},
		{`{"id":"/a","container":{"volumes":[{"secret":"s","containerPath":"a\u0000b"}]}}`, "containerPath must not contain"},
		{`{"id":"/a","container":{"volumes":[{"secret":"s","containerPath":"` + strings.Repeat("p", 1025) + `"}]}}`, "longer than 1024"},
		{`{"id":"/a","container":{"docker":{"pullConfig":"s"}}}`, "container.docker.pullConfig must be an object"},
		{`{"id":"/a","container":{"docker":{"pullConfig":{"secret":null,"x":1}}},"env":{"A":{"secret":false}}}`, "env.*.secret must be a string"},
		{`{"id":"/p","containers":{}}`, "containers must be an array"},
		{`{"id":"/p","containers":[{}]}`, "containers[0].name is missing"},
		{`{"id":"/p","containers":[{"name":"c"},{"name":"c"}]}`, "containers[1].name is the name of two"},
		{`{"id":"/p","containers":[{"name":"c","environment":{"X":{"secret":1}}}]}`, "containers[0].environment.*.secret must be a string"},
		{`{"id":"/p","volumes":[{"name":"v","secret":"s"},{"name":"v","secret":"t"}],"containers":[]}`, "volumes[1].name is the name of two"},
		{`{"id":"/p","volumes":[{"name":"v","secret":"s"}],"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/x/../y"}]}]}`, "containers[0].volumeMounts[0].mountPath must not"},
		{`{"id":"j","run":[]}`, "run must be an object"},
		{`{"id":"j","run":{"env":1}}`, "run.env must be an object"},
		{`{"id":"/a",` + strings.TrimSuffix(secrets, "}") + `,` + manyEntries(2100) + `}}`, "too many secrets"},
		{`{"id":"/a",` + secrets + `,"env":{` + manyReferences(2100) + `}}`, "too many secrets"},
		{`[` + strings.Repeat(`{"id":"/a"},`, 2000) + `{"id":"/a"}]`, "too many secrets"},
		{`{"id":"/p",` + secrets + `,"environment":{` + manyReferences(500) + `},"containers":[` + manyContainers(100) + `]}`, "too many secrets"},
	} {
		_, _, err := definition.Parse([]byte(row.doc))
		var refused *definition.Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.where) {
			t.Errorf("%.80s: %v; want %q", row.doc, err, row.where)
		}
	}
}

func manyEntries(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"n%d":{"source":"s"}`, i)
	}
	return strings.Join(all, ",")
}

func manyReferences(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"N%d":{"secret":"s"}`, i)
	}
	return strings.Join(all, ",")
}

func manyContainers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"name":"c%d"}`, i)
	}
	return strings.Join(all, ",")
}

// What somebody writes into a definition by mistake may be a secret itself.
func TestErrorsRepeatNothingOfTheDocument(t *testing.T) {
	for _, doc := range []string{
		`{"id":"/a","env":{"CANARY":{"secret":["CANARY"]}}}`, `{"id":"/a","secrets":{"CANARY":"CANARY"}}`, `{"id":"/a","CANARY":1,"CANARY":2}`,
		`{"id":"/CANARY/.."}`, `{"id":"/a","CANARY`, `{"id":"/a","container":{"volumes":[{"secret":"CANARY","containerPath":"../CANARY"}]}}`,
		`{"id":"CANARY","env":{"CANARY=CANARY":{"secret":"CANARY"}}}`, `["CANARY"]`, `"CANARY"`, `{"id":"/p","containers":[{"name":"CANARY"},{"name":"CANARY"}]}`,
	} {
		if _, _, err := definition.Parse([]byte(doc)); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func parseOne(t *testing.T, doc string) *definition.Definition {
	t.Helper()
	all, _, err := definition.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return &all[0]
}

func names(refs []definition.Reference, d *definition.Definition) string {
	var all []string
	for _, r := range refs {
		all = append(all, r.Target+"="+d.Secrets[r.Entry].Name)
	}
	return strings.Join(all, " ")
}

func TestAContainersOwnVariableOverridesThePods(t *testing.T) {
	d := parseOne(t, `{"id":"/p","environment":{"ALL":{"secret":"a"},"OVER":{"secret":"a"},"SAME":{"secret":"a"}},
		"containers":[{"name":"one","environment":{"OVER":{"secret":"b"},"X":{"secret":"b"},"SAME":{"secret":"a"}},"image":{"pullConfig":{"secret":"a"}}},
			{"name":"two","environment":{"X":{"secret":"a"},"TWO":{"secret":"b"}},"image":{"pullConfig":{"secret":"b"}}},{"name":"three"}],
		"secrets":{"a":{"source":"a"},"b":{"source":"b"}}}`)
	for container, want := range map[string]string{
		"one":   "ALL=a OVER=b SAME=a X=b",
		"two":   "ALL=a OVER=a SAME=a TWO=b X=a",
		"three": "ALL=a OVER=a SAME=a",
	} {
		if got := names(d.EnvOf(container), d); got != want {
			t.Errorf("%s: %s, want %s", container, got, want)
		}
	}
	if got := names(d.Env(), d); got != "ALL=a SAME=a TWO=b" {
		t.Errorf("what all agree about: %s", got)
	}
	if r, ok := d.PullConfig(); ok {
		t.Errorf("two pull configs are one: %v", r)
	}
	if r, ok := d.PullConfigOf("two"); !ok || r.Secret != "b" {
		t.Errorf("pull config of two: %v, %v", r, ok)
	}
	if _, ok := d.PullConfigOf("three"); ok {
		t.Error("three has a pull config")
	}
}

func TestWantedAndUnusedSecrets(t *testing.T) {
	list := func(all []definition.Secret) string {
		var s []string
		for _, e := range all {
			s = append(s, e.Name)
		}
		return strings.Join(s, " ")
	}
	d := parseOne(t, `{"id":"/p","volumes":[{"name":"v","secret":"left"},{"name":"w","secret":"file"}],
		"containers":[{"name":"c","environment":{"X":{"secret":"env"},"Y":{"secret":"env"},"Z":{"secret":"none"}},"volumeMounts":[{"name":"w","mountPath":"w"}]}],
		"secrets":{"left":{"source":"a"},"idle":{"source":"b"},"env":{"source":"c"},"file":{"source":"d"}}}`)
	if list(d.Wanted()) != "env file" || list(d.Unused()) != "idle" {
		t.Errorf("wanted %q, unused %q", list(d.Wanted()), list(d.Unused()))
	}
	d = parseOne(t, `{"service":"/a","secrets":{"x":{"source":"a"},"y":{"source":"b"}}}`)
	if list(d.Wanted()) != "x y" || list(d.Unused()) != "" {
		t.Errorf("plain: wanted %q, unused %q", list(d.Wanted()), list(d.Unused()))
	}
}

func TestTheLastComponentSaysWhetherAValueIsEncoded(t *testing.T) {
	d := parseOne(t, `{"service":"/a","secrets":{"a":{"source":"a/__dcos_base64__key"},"b":{"source":"/__dcos_base64___keytab"},"c":{"source":"__dcos_base64__/key"},"d":{"source":"a/x__dcos_base64__"}}}`)
	for i, want := range []bool{true, true, false, false} {
		if d.Secrets[i].Encoded() != want {
			t.Errorf("%s: %v", d.Secrets[i].Path, !want)
		}
	}
}

// TestAHostileDocumentCostsAFewTimesItsSize counts all that is allocated, of
// which most is garbage at once.
func TestAHostileDocumentCostsAFewTimesItsSize(t *testing.T) {
	const size = 1 << 20
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail
	}
	numbered := func(head, tail string, unit func(i int) string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size-100; i++ {
			b.WriteString(unit(i))
		}
		return b.String() + tail
	}
	for name, doc := range map[string]string{
		"deep":            fill("", "[", ""),
		"deep in objects": fill(`{"id":"/a","x":`, `{"x":`, ""),
		"tiny":            fill("[", "1,", "1]"),
		"empty objects":   fill("[", "{},", "{}]"),
		"many members":    numbered(`{"id":"/a","x":{`, `"z":1}}`, func(i int) string { return fmt.Sprintf(`"%x":1,`, i) }),
		"long string":     fill(`{"id":"/a","x":"`, "x", `"}`),
		"escapes":         fill(`{"id":"/a","env":{"X":{"secret":"`, `\u0000`, `"}}}`),
		"long name":       fill(`{"id":"/a","env":{"`, "N", `":{"secret":"s"}}}`),
		"many secrets":    numbered(`{"id":"/a","secrets":{`, `"z":{"source":"a"}}}`, func(i int) string { return fmt.Sprintf(`"%x":{"source":"a"},`, i) }),
		"many apps":       numbered(`[`, `{"id":"/a"}]`, func(i int) string { return fmt.Sprintf(`{"id":"/a%x"},`, i) }),
		"long names":      numbered(`{"id":"/a","env":{`, `"z":1}}`, func(i int) string { return fmt.Sprintf(`"%0250d":{"secret":"%0250d"},`, i, i) }),
		"long members": numbered(`{"id":"/p","containers":[{"name":"c"}],"secrets":{`, `"z":{"source":"a"}}}`, func(i int) string {
			return fmt.Sprintf(`"%x":{"%0500d":1,"source":"a"},`, i, i)
		}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		definition.Parse([]byte(doc))
		runtime.ReadMemStats(&after)
		cost := float64(after.TotalAlloc-before.TotalAlloc-uint64(len(doc))) / size // less the copy that the test makes
		t.Logf("%-16s %.1f times its size", name, cost)
		if cost > 8 {
			t.Errorf("%s: %.1f times its size", name, cost)
		}
	}
}
