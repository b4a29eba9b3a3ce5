package web

import (
	"bytes"
	"html"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"secretstore/acl"
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
		v, kept := visitTo(w), bytes.Clone(value)
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
	v := visitTo(w)
	status := wire.SealStatus{Warnings: []string{"the disk of the audit log is <full>"}, Server: &wire.ServerReport{Storage: wire.StorageUp}}
	if err := v.execute(200, templates()["overview"], "frame", &view{Page: overview{Status: status, Name: "host-1"}}); err != nil {
		t.Fatal(err)
	}
	page := w.Body.String()
	warning, facts := strings.Index(page, `<li>the disk of the audit log is &lt;full&gt;</li>`), strings.Index(page, "<dl>")
	if warning < 0 || facts < warning || !strings.Contains(page, "<dd>host-1</dd>") {
		t.Errorf("%s", page)
	}
}

// ready is an API that says "ready" to everything.
type ready struct{ API }

func (ready) ServeHTTP(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ready") }

func (ready) HoldAnswer(acl.Principal, int64) (release func(), status int, err error) {
	return func() {}, 0, nil
}

// visitTo returns a visit that is answered to w.
func visitTo(w http.ResponseWriter) *visit { return &visit{s: &Server{api: ready{}}, w: w} }

// TestLinksOfOtherSitesContinueToTheSamePage, whatever the query holds: a colon does
// not make a scheme of what comes before it.
func TestLinksOfOtherSitesContinueToTheSamePage(t *testing.T) {
	s := New(Config{})
	s.Attach(ready{})
	for _, query := range []string{"", "?", "?search=db:prod", "?filter=10:30", "?path=a/b:c", "?search=javascript:x", "?search=%22%3E&x=a:b"} {
		for _, name := range []string{"", "secrets", "audit"} {
			r := httptest.NewRequest("GET", "http://127.0.0.1"+Path+name+query, nil)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			w := httptest.NewRecorder()
			s.serve(w, r, name)
			want := "./" + name + strings.TrimSuffix(html.EscapeString(query), "?")
			page := w.Body.String()
			if !strings.Contains(page, `<a href="`+want+`">Continue</a>`) || !strings.Contains(page, `content="0; url=`+want+`"`) {
				t.Errorf("%q leads to %s", name+query, page)
			}
		}
	}
	if got := s.next("./secrets?search=db:prod"); got != "secrets?search=db:prod" {
		t.Errorf("a sign-in leads to %q", got)
	}
}

// TestServersOfOneMachineAreToldApart by the ID of their process, and the page says
// which storage all of them share.
func TestServersOfOneMachineAreToldApart(t *testing.T) {
	p := serversPage{
		Nodes: wire.Nodes{Array: []wire.Node{{ID: "id-1", Name: "host-a"}, {ID: "id-2", Name: "host-a"}, {ID: "id-3", Name: "host-b"}}},
		Own:   &wire.ServerReport{Storage: wire.StorageUnreachable}, Store: wire.Backend{Driver: "zookeeper"},
	}
	w := httptest.NewRecorder()
	if err := visitTo(w).execute(200, templates()["servers"], "frame", &view{Page: p}); err != nil {
		t.Fatal(err)
	}
	page := w.Body.String()
	for text, want := range map[string]bool{"id-1": true, "id-2": true, "id-3": false, "They share one storage, ZooKeeper. Seen from this server, it is unreachable.": true} {
		if strings.Contains(page, text) != want {
			t.Errorf("%q is there: %t\n%s", text, !want, page)
		}
	}
}

// TestAProviderReturnsOnlyToPagesThatItsTargetCanName, which are a name and a query: with
// any other, the sign-in would be refused.
func TestAProviderReturnsOnlyToPagesThatItsTargetCanName(t *testing.T) {
	s := New(Config{})
	for wanted, page := range map[string]string{
		"": "", "./": "", "./?x=y": "", "elsewhere": "", "secrets?a='": "", "./secrets": "/secrets", "./secret?path=a%2Fb:c&x": "/secret?path=a%2Fb:c&x",
	} {
		u, err := url.Parse(s.withNext("/start?target=pages", wanted))
		if err != nil || u.Query().Get("target") != "pages"+page {
			t.Errorf("%q: %v, %v", wanted, u, err)
		}
	}
}
