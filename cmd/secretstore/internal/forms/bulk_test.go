package forms

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func items(t testing.TB, all []Source) []Item {
	t.Helper()
	var out []Item
	for _, s := range all {
		i, err := s.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if i.Path != s.Path {
			t.Errorf("%s reads as %s", s.Path, i.Path)
		}
		out = append(out, i)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func TestJSONComesBackAsItWas(t *testing.T) {
	want := []Item{
		{Path: "a", Value: []byte("ü\x00\n")},
		{Path: "a/b", Value: []byte{}, Description: ptr(""), Labels: ptr([]string{})},
		{Path: "bin", Value: []byte{0xff, 0}, Binary: true},
		{Path: "empty", Value: []byte{}, Binary: true},
		{Path: "x.y_z-1", Value: []byte("v"), Description: ptr("about"), Labels: ptr([]string{"one", "two"})},
	}
	var b bytes.Buffer
	w := NewJSONWriter(&b)
	for _, i := range want {
		if err := w.Put(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ParseJSON(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, items(t, got)); diff != "" {
		t.Error(diff)
	}
}

func TestAmbiguousInputIsRefusedAndNotRepeated(t *testing.T) {
	const canary = "kanarienvogel"
	for _, doc := range []string{
		``, `{`, `[]`, `"` + canary + `"`, canary, `{"a":"` + canary + `"}`, `{"a":{}}`, `{"a":{"value":"x","value_base64":"eA=="}}`,
		`{"a":{"value":1` + canary + `}}`, `{"a":{"value":"` + canary + `","more":1}}`, `{"a":{"value":"x"},"a":{"value":"y"}}`,
		`{"a":{"value":"x"},"/a/":{"value":"y"}}`, `{"a":{"value":"x","value":"y"}}`, `{"../a":{"value":"x"}}`, `{"":{"value":"x"}}`,
		`{"a":{"value_base64":"` + canary + `"}}`, "{\"a\":{\"value\":\"\xff" + canary + "\"}}", `{"a":{"value":"\ud800"}}`, `{"a":{"value":"x"}} ` + canary,
		`{"a":{"Value":"` + canary + `"}}`, `{"a%2Fb":{"value":"x"}}`,
	} {
		if got, err := ParseJSON([]byte(doc)); err == nil {
			t.Errorf("%s is read as %v", doc, items(t, got))
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error repeats it: %v", doc, err)
		}
	}
	for _, doc := range []string{
		canary, "A", "A =" + canary, "A= " + canary, "1A=x", "A-B=x", "=x", "A=x " + canary, "A=x" + `"` + canary + `"`, "A=a'b'", `A=a\b`, "A=$" + canary, "A=`x`",
		`A="$` + canary + `"`, `A="` + canary, `A='` + canary, `A="\x` + canary + `"`, `A="x\`, "A=x\nA=y", "A=x#" + canary, "A='x'" + canary, "export", "export A", "exportA=x y",
		"A=\xff" + canary, "A='\x00" + canary + "'", "A=x\ry", "\ufeffA=x",
	} {
		if got, err := ParseDotenv([]byte(doc)); err == nil {
			t.Errorf("%q is read as %v", doc, items(t, got))
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%q: the error repeats it: %v", doc, err)
		}
	}
}

func TestMistakesAreFoundByTheirLine(t *testing.T) {
	for doc, line := range map[string]int{
		"A=x\n\n# note\nB": 4, "A='x\ny\n'\nB": 4, "A=\"x\ny\"\r\nB=\"\n": 3,
		"A=x\nA=y\n": 2, "A=x\nA=y": 2, "A=x\n\n\nA=y\n\n": 4, "A='x\ny'\nA='\n'\n": 3, "A=x\r\nA=y\r\n": 2,
		"A=x\nB=x y\n": 2, "A=x\nB='x\n'y\n": 3, "A=x\nB='x\n\n": 2, "A=\"\n\n\\x\"\n": 3, "\nA=\"\n$x\"\n": 3,
		"A=x\nB=\xff\n": 2, "A='\n\x00'\n": 2,
	} {
		_, err := ParseDotenv([]byte(doc))
		if e, ok := errors.AsType[*lineError](err); !ok || e.line != line {
			t.Errorf("%q: %v, want line %d", doc, err, line)
		}
	}
	_, err := ParseJSON([]byte("{\n\"a\": {\n\"value\": 7}}"))
	if e, ok := errors.AsType[*lineError](err); !ok || e.line != 3 {
		t.Errorf("%v, want line 3", err)
	}
}

// TestMistakesInOneLineOfJSONNameTheSecret: jq -c writes all of them into one.
func TestMistakesInOneLineOfJSONNameTheSecret(t *testing.T) {
	for _, bad := range []string{
		`{"value":7}`, `{"value_base64":"AAA"}`, `{"value":"x","other":1}`, `{"value":"x","value":"x"}`, `{"value":"\ud800"}`, `"x"`, `{"value":x}`, `{}`,
	} {
		doc := `{"team/first":{"value":"x"},"team/second":` + bad + `,"team/third":{"value":"x"}}`
		if _, err := ParseJSON([]byte(doc)); err == nil || !strings.Contains(err.Error(), "team/second") {
			t.Errorf("%s: %v", doc, err)
		}
	}
	doc := `{"team/first":{"value":"x"},"team/first":{"value":"y"}}`
	if _, err := ParseJSON([]byte(doc)); err == nil || !strings.Contains(err.Error(), "team/first") {
		t.Errorf("%s: %v", doc, err)
	}
}

func TestDotenvIsReadAsItStands(t *testing.T) {
	doc := "# first\n\nA=plain:value/1=2\r\n  export B='single \"$x\\n\nline two'  # comment\n" +
		`C="a\"b\\c\$d\` + "`" + `e\n\r\tf"` + "\nD=\nE=\"\"\nexport=x\nF='#'\nG=ü&?"
	got, err := ParseDotenv([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{
		{Path: "A", Value: []byte("plain:value/1=2")}, {Path: "B", Value: []byte("single \"$x\\n\nline two")}, {Path: "C", Value: []byte("a\"b\\c$d`e\n\r\tf")},
		{Path: "D", Value: []byte{}}, {Path: "E", Value: []byte{}}, {Path: "export", Value: []byte("x")}, {Path: "F", Value: []byte("#")}, {Path: "G", Value: []byte("ü&?")},
	}
	if diff := cmp.Diff(want, items(t, got)); diff != "" {
		t.Error(diff)
	}
}

// hard are values with everything that means something somewhere.
var hard = []string{
	"", "plain", "with space", "it's", `"`, `'"`, `\`, `\n`, `'\n$x` + "`y`", "two\nlines\n", "'\n\"", "$HOME", "'$HOME'", "a#b", "#", "ü😀", "\r\n'", "tab\t", "~", "a;b&c|d<e>f(g)*?[!]{}", "'!\\\\",
}

// TestAShellReadsWhatWeWrite runs one: a dotenv file is often sourced.
func TestAShellReadsWhatWeWrite(t *testing.T) {
	for _, value := range hard {
		line, err := AppendDotenv(nil, "A", Item{Path: "A", Value: []byte(value)})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, line, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("sh", "-c", `. "$0"; printf %s "$A"`, file).CombinedOutput()
		if err != nil || string(got) != value {
			t.Errorf("%s: %q, %v, want %q", line, got, err, value)
		}
	}
}

func FuzzDotenv(f *testing.F) {
	for _, v := range hard {
		line, err := AppendDotenv(nil, "A", Item{Value: []byte(v)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte("export B=\"x\\ny\" # c\r\nA='\n'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseDotenv(data)
		if err != nil {
			return
		}
		want := items(t, all)
		var written []byte
		for _, i := range want {
			if written, err = AppendDotenv(written, i.Path, i); err != nil {
				t.Fatalf("%q is read and cannot be written: %v", i.Value, err)
			}
		}
		again, err := ParseDotenv(written)
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		if diff := cmp.Diff(want, items(t, again)); diff != "" {
			t.Errorf("%q: %s", written, diff)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":{"value":"x","description":"d","labels":["l"]},"a/b":{"value_base64":"AAE="}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseJSON(data)
		if err != nil {
			return
		}
		want := items(t, all)
		var b bytes.Buffer
		w := NewJSONWriter(&b)
		for _, i := range want {
			if err := w.Put(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := ParseJSON(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", b.Bytes(), err)
		}
		if diff := cmp.Diff(want, items(t, again)); diff != "" {
			t.Error(diff)
		}
	})
}

func tree(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestATreeWithoutAnIndexIsReadByteForByte(t *testing.T) {
	all, missing, err := ReadTree(tree(t, map[string]string{
		"a": "x\n", "b@secret": "y", "b/c": "\xff", "b/nul": "\x00", "index.json": `{"secrets":"mine"}`, "d/index.json": "{}",
	}))
	if err != nil || len(missing) != 0 {
		t.Fatal(err, missing)
	}
	want := []Item{
		{Path: "a", Value: []byte("x\n")}, {Path: "b", Value: []byte("y")}, {Path: "b/c", Value: []byte("\xff"), Binary: true},
		{Path: "b/nul", Value: []byte("\x00"), Binary: true}, {Path: "d/index.json", Value: []byte("{}")},
		{Path: "index.json", Value: []byte(`{"secrets":"mine"}`)},
	}
	if diff := cmp.Diff(want, items(t, all)); diff != "" {
		t.Error(diff)
	}
}

func TestAnIndexSaysWhatTheFilesDoNot(t *testing.T) {
	index := `{"store":"u","failed":1,"secrets":[{"path":"a","file":"a","kind":"binary","size":1,"author":"x","created":"2020-01-01T00:00:00Z","version":3},
		{"path":"b","file":"b@secret","kind":"text","size":1,"description":"d","labels":["l"]},{"path":"gone","size":0,"error":"damaged"}]}`
	for _, name := range []string{"index.json", "@index.json"} {
		all, missing, err := ReadTree(tree(t, map[string]string{name: index, "a": "x", "b@secret": "y"}))
		if err != nil {
			t.Fatal(err)
		}
		want := []Item{{Path: "a", Value: []byte("x"), Binary: true}, {Path: "b", Value: []byte("y"), Description: ptr("d"), Labels: ptr([]string{"l"})}}
		if diff := cmp.Diff(want, items(t, all)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"gone"}, missing); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBadTreeIsRefusedWithAllProblems(t *testing.T) {
	root := tree(t, map[string]string{
		"with space": "x", "a": "x", "a@secret": "y", "ok": "z", "@index.json": `{"store":"u","failed":0,"secrets":[{"path":"lost","file":"lost","size":1}]}`,
	})
	if err := root.Symlink("ok", "link"); err != nil {
		t.Fatal(err)
	}
	_, _, err := ReadTree(root)
	for _, want := range []string{"with space", "a appears twice", "link", "lost"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
	if _, _, err := ReadTree(tree(t, map[string]string{"@index.json": "{}"})); err == nil {
		t.Error("an invalid @index.json is accepted")
	}
	out := `{"store":"u","failed":0,"secrets":[{"path":"x","file":"../x","size":1}]}`
	if _, _, err := ReadTree(tree(t, map[string]string{"@index.json": out})); err == nil {
		t.Error("an index that names a file outside is taken")
	}
}
