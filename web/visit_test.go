package web

import (
	"bytes"
	"html"
	"html/template"
	"net/http/httptest"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// FuzzValueInAPage: a value that is written around a template is text, the same as
// before but for what no text can have, and is cleared afterwards. Others and the
// page itself stay as they are, whatever it holds.
func FuzzValueInAPage(f *testing.F) {
	for _, seed := range []string{"", "</textarea><script>x</script>", "{{.}} &amp; &#34;\r\n", "slot-", "\x00\xff\u2028", "a\r"} {
		f.Add([]byte(seed))
	}
	page := template.Must(template.New("").Parse(`<pre>{{index . 0}}</pre><textarea>{{index . 1}}</textarea>`))
	f.Fuzz(func(t *testing.T, value []byte) {
		w := httptest.NewRecorder()
		v, kept := &visit{w: w}, bytes.Clone(value)
		markers := []string{v.slot(kept), v.slot([]byte("second"))}
		if err := v.execute(200, page, "", markers); err != nil {
			t.Fatal(err)
		}
		v.clearSlots()
		if len(bytes.Trim(kept, "\x00")) > 0 {
			t.Fatalf("%q is left", kept)
		}
		inside, ok := strings.CutPrefix(w.Body.String(), "<pre>")
		inside, ok2 := strings.CutSuffix(inside, "</pre><textarea>second</textarea>")
		if !ok || !ok2 || strings.ContainsAny(inside, "<>\"'\r\x00") {
			t.Fatalf("%q makes the page %q", value, w.Body)
		}
		if got, want := html.UnescapeString(inside), strings.ReplaceAll(string(value), "\x00", "\ufffd"); got != want {
			t.Fatalf("%q is shown as %q", value, got)
		}
	})
}

// TestSignInLeadsToPagesOfThisServerOnly, whatever the address asks for.
func TestSignInLeadsToPagesOfThisServerOnly(t *testing.T) {
	s := New(Config{})
	for _, good := range []string{"secrets", "secret?path=a%2Fb&x=1"} {
		if got := s.next(good); got != good {
			t.Errorf("%q leads to %q", good, got)
		}
	}
	for _, bad := range []string{"", "//evil.example", "https://evil.example/", `\\evil.example`, "../metrics", "/", "./", "bar", "sign-in", "sign-out", "secret-value", "nothing", "secrets?a\r\nb", "secrets?\x7f", "secrets/x", "javascript:x"} {
		if got := s.next(bad); got != "./" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
}

// TestOverviewBeginsWithTheWarnings of the server, such as that audit lines go to the
// reserve.
func TestOverviewBeginsWithTheWarnings(t *testing.T) {
	w := httptest.NewRecorder()
	v := &visit{w: w}
	status := wire.SealStatus{Warnings: []string{"the disk of the audit log is <full>"}, Server: &wire.ServerReport{Storage: wire.StorageUp}}
	if err := v.execute(200, templates["overview"], "frame", &view{Page: overview{Status: status, Name: "host-1"}}); err != nil {
		t.Fatal(err)
	}
	page := w.Body.String()
	warning, facts := strings.Index(page, `<li>the disk of the audit log is &lt;full&gt;</li>`), strings.Index(page, "<dl>")
	if warning < 0 || facts < warning || !strings.Contains(page, "<dd>host-1</dd>") {
		t.Errorf("%s", page)
	}
}
