package dcosbackup

import (
	"archive/tar"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The files in testdata are written by the tools, without the secret big/200k (200,000
// times "z") except in one.
const ownKey = "0123456789abcdef0123456789abcdef"

// value is a secret as expected.json has it.
type value struct {
	Text   *string `json:"text"`
	Base64 *[]byte `json:"base64"`
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func expected(t testing.TB) map[string]value {
	t.Helper()
	var want map[string]value
	if err := json.Unmarshal(read(t, "expected.json"), &want); err != nil {
		t.Fatal(err)
	}
	return want
}

func check(t *testing.T, c *Content, want map[string]value) {
	t.Helper()
	got := map[string]value{}
	for _, s := range c.Secrets {
		text := string(s.Value)
		if s.Binary {
			got[s.Path] = value{Base64: &s.Value}
		} else {
			got[s.Path] = value{Text: &text}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(c.Problems) > 0 {
		t.Errorf("%v\n%.2000s", c.Problems, diff)
	}
}

func TestBackupsAreReadValueByValue(t *testing.T) {
	want := expected(t)
	c, err := ParseTar(read(t, "dcos-secrets-backup-own-key.tar"), []byte(ownKey))
	if err != nil || len(c.Notes) != 1 {
		t.Fatal(c.Notes, err)
	}
	check(t, c, want)
	c, err = ParseScriptFile(read(t, "dcos-migrate-script.json"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, want)
	var doc struct{ Secrets json.RawMessage }
	if err := json.Unmarshal(read(t, "dcos-migrate-script.json"), &doc); err != nil {
		t.Fatal(err)
	}
	if c, err = ParseScriptFile(doc.Secrets); err != nil { // the form of older scripts
		t.Fatal(err)
	}
	check(t, c, want)
	c = &Content{}
	files, err := filepath.Glob("testdata/dcos-migrate/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		c.ParseMigrateFile(file, read(t, strings.TrimPrefix(file, "testdata/")))
	}
	check(t, c, want)
	big := strings.Repeat("z", 200_000)
	want["big/200k"] = value{Text: &big}
	if c, err = ParseTar(read(t, "dcos-secrets-backup-default-key.tar"), []byte(DefaultCipherKey)); err != nil {
		t.Fatal(err)
	}
	check(t, c, want)
}

// members makes a tar file of encrypted members.
func members(t testing.TB, without string, data []byte) []byte {
	t.Helper()
	in := tar.NewReader(bytes.NewReader(data))
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for {
		h, err := in.Next()
		if err != nil {
			break
		}
		if h.Name == without {
			continue
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(in); err != nil {
			t.Fatal(err)
		}
		if err := out.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		out.Write(content.Bytes())
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWrongCipherKeyIsNoticed(t *testing.T) {
	data := read(t, "dcos-secrets-backup-own-key.tar")
	for name, file := range map[string][]byte{"with a check": data, "of an old release": members(t, sanityName, data)} {
		if _, err := ParseTar(file, []byte(DefaultCipherKey)); !errors.Is(err, ErrCipherKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := ParseTar(members(t, sanityName, data), []byte(ownKey))
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, expected(t))
	if _, err := ParseTar(data, []byte("short")); !errors.Is(err, ErrKeySize) {
		t.Errorf("%v", err)
	}
}

// TestFirstReleaseIsRefused, and not a secret below temp/ in the files of later ones.
func TestFirstReleaseIsRefused(t *testing.T) {
	block, err := aes.NewCipher([]byte(ownKey))
	if err != nil {
		t.Fatal(err)
	}
	file := func(names ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range names {
			text := []byte(`{"value":"x"}`)
			if name == sanityName {
				text = []byte(sanityText)
			}
			data := make([]byte, aes.BlockSize+len(text))
			//lint:ignore SA1019 the format is what it is
			cipher.NewCFBEncrypter(block, data[:aes.BlockSize]).XORKeyStream(data[aes.BlockSize:], text)
			if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
				t.Fatal(err)
			}
			w.Write(data)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if _, err := ParseTar(file("temp/a", listName), []byte(ownKey)); !errors.Is(err, errRelease) {
		t.Errorf("%v", err)
	}
	for _, names := range [][]string{{"temp/a", "b"}, {sanityName, "temp/a", listName}} {
		c, err := ParseTar(file(names...), []byte(ownKey))
		if err != nil || len(c.Secrets) != 2 || len(c.Problems) > 0 {
			t.Errorf("%q: %+v, %v", names, c, err)
		}
	}
}

func TestTruncatedBackupIsRefused(t *testing.T) {
	data := read(t, "dcos-secrets-backup-own-key.tar")
	for _, n := range []int{0, 100, 600, 1000, 1024, 2048, len(data) - 1, len(data) - 512} {
		if _, err := ParseTar(data[:n], []byte(ownKey)); err == nil {
			t.Errorf("%d bytes are accepted", n)
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for range 2 {
		if err := w.WriteHeader(&tar.Header{Name: "a", Size: 20, Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		w.Write(make([]byte, 20))
	}
	w.Close()
	if _, err := ParseTar(b.Bytes(), []byte(ownKey)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a name that is there twice: %v", err)
	}
}

// TestTarIsNotLargerThanItsFile: a sparse member of a few bytes can say that it has
// any number of them.
func TestTarIsNotLargerThanItsFile(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// The Writer makes no sparse members: these records get their names afterwards.
	sparse := map[string]string{"ABC.sparse.major": "0", "ABC.sparse.minor": "1", "ABC.sparse.numblocks": "1", "ABC.sparse.map": "0,20", "ABC.sparse.size": "1048576"}
	if err := w.WriteHeader(&tar.Header{Name: "a" + binaryName, Size: 20, Mode: 0o600, Typeflag: tar.TypeReg, PAXRecords: sparse}); err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 20))
	w.Close()
	file := bytes.ReplaceAll(b.Bytes(), []byte("ABC.sparse"), []byte("GNU.sparse"))
	if h, err := tar.NewReader(bytes.NewReader(file)).Next(); err != nil || h.Size != 1<<20 {
		t.Fatalf("%+v, %v: it is not sparse", h, err)
	}
	if _, err := ParseTar(file, []byte(ownKey)); !errors.Is(err, errSparse) {
		t.Errorf("the error is %v", err)
	}
}

func TestDamagedEntriesAreNamed(t *testing.T) {
	c, err := ParseScriptFile([]byte(`[{"key":"a","type":"text"},{"key":"b","type":"x","value":""},{"key":"/","type":"text","value":""},{"path":"/p/","key":"/c","type":"text","value":"eA==","description":"d","labels":["l"]}]`))
	if err != nil || len(c.Problems) != 3 {
		t.Fatal(c, err)
	}
	if want := []Secret{{"p/c", []byte("x"), false, "d", []string{"l"}}}; !cmp.Equal(c.Secrets, want) {
		t.Errorf("%+v", c.Secrets)
	}
	c.ParseMigrateFile("x.Backup.json", []byte("{"))
	if len(c.Problems) != 4 || c.Problems[3].Name != "x.Backup.json" {
		t.Errorf("%+v", c.Problems)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(read(f, "dcos-migrate-script.json"))
	f.Add(read(f, "dcos-migrate/plain.Backup.json"))
	f.Add([]byte(`{"array":["a","b"],"next":"b","incomplete":true}`))
	f.Add([]byte(`{"value":"x\u0000","labels":["a"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseScriptFile(data); (c == nil) != (err != nil) {
			t.Errorf("%v, %v", c, err)
		}
		c := &Content{}
		if c.ParseMigrateFile("x", data); len(c.Secrets)+len(c.Problems) != 1 {
			t.Errorf("%+v", c)
		}
		if s, err := ParseAnswer("x", data); (s.Value == nil) != (err != nil) {
			t.Errorf("%+v, %v", s, err)
		}
		if l, err := ParseList(data); (l.Names == nil) != (err != nil) {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func FuzzParseTar(f *testing.F) {
	data := read(f, "dcos-secrets-backup-own-key.tar")
	f.Add(data[:2048])
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseTar(data, []byte(ownKey)); (c == nil) != (err != nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}
