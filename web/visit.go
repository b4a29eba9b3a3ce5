package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/connections"
)

// visit is one request for a page being answered. It has many methods because each
// page and form has some of them, which share only the request and the session; they
// are in files by subject.
type visit struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	page *page
	// api calls the API as the user of the session, or without a token.
	api     *client.Client
	session *session // nil on open pages without one
	// unchecked: there may be a session, but that cannot be known here and now.
	unchecked   bool
	form        *form  // of a POST
	releaseForm func() // nil without a form
	slots       []slot
	held        []func() // give back the memory that the answer has claimed
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// query returns a parameter of the address; "" if there is none.
func (v *visit) query(name string) string { return v.r.URL.Query().Get(name) }

// serve answers a request for a page.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, name string) {
	p := s.pages[name]
	if p == nil {
		p = &page{title: "Not found", open: true, get: showNotFound}
	}
	if p.shares && r.Method == http.MethodPost {
		last := newLastAnswer(w)
		defer last.send(r)
		w = last
	}
	v := &visit{s: s, w: w, r: r, page: p}
	defer v.release()
	if err := v.answer(); err != nil {
		v.fail(err)
	}
}

// answer makes the checks of a request in their order, and has its page answer it.
func (v *visit) answer() error {
	do := v.page.get
	switch v.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		do = v.page.post
	default:
		do = nil
	}
	if do == nil {
		return &refusal{http.StatusMethodNotAllowed, "This page does not take such requests."}
	}
	if err := v.s.origin.Check(v.r); err != nil {
		return &refusal{http.StatusForbidden, "The request came from another site, so nothing was done."}
	}
	if err := v.openSession(); err != nil {
		return err
	}
	if v.r.Method == http.MethodPost {
		if err := v.readForm(); err != nil {
			return err
		}
		defer v.endForm()
	}
	defer v.clearSlots()
	return do(v)
}

// openSession finds out who has signed in.
func (v *visit) openSession() (err error) {
	v.session, err = v.s.sessions.of(v.r)
	if errors.Is(err, errNoSession) && !v.page.open && len(v.r.CookiesNamed(Cookie)) == 0 {
		if v.fromElsewhere() {
			return errFromElsewhere
		}
		v.session, err = v.adopt()
	}
	v.unchecked = errors.Is(err, errNotKnown) || errors.Is(err, errNoKey)
	if v.page.open && (errors.Is(err, errNoSession) || errors.Is(err, errNotKnown)) {
		err = nil
	}
	token := ""
	if v.session != nil {
		connections.Keep(v.ctx())
		token = v.session.Token
		// No window of another site keeps a hold on a page of a user. A browser starts a
		// process for a page that says so, which would delay the first one, the sign-in.
		v.w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		if v.page.name != barPage {
			err = v.s.setCookie(v.w, v.r, v.session)
		}
	}
	if err != nil {
		return err
	}
	v.api, err = v.s.callAPI(v.r, token)
	return err
}

// formField is the field that shows that a form is from a page of this session.
const formField = "form-token"

// maxSmallForm is the size of a form without a value of a secret, in bytes.
const maxSmallForm = 256 << 10

// readForm reads the body of a request that changes something. Call endForm after it.
func (v *visit) readForm() error {
	limit := int64(maxSmallForm)
	if v.page.upload {
		limit += 3 * v.s.cfg.MaxValue // each byte may be escaped
	}
	body, release, status, err := v.s.api.ReadBody(v.w, v.r, v.who(), limit)
	if err != nil {
		return &refusal{status, sentence(err.Error())}
	}
	v.form, err = parseForm(v.r.Header.Get("Content-Type"), body)
	switch {
	case err != nil:
		err = &refusal{http.StatusBadRequest, "The form cannot be read: " + err.Error() + "."}
	case v.session != nil && v.page.name != signInPage && subtle.ConstantTimeCompare(v.form.secret(formField), []byte(v.session.Form)) != 1:
		err = &refusal{http.StatusForbidden, "The form is from an earlier session, so nothing was done. Open the page again."}
	}
	if err != nil {
		clear(body)
		release()
		return err
	}
	v.releaseForm = release
	return nil
}

// endForm clears the form, and gives its memory back. Further calls do nothing.
func (v *visit) endForm() {
	if v.releaseForm != nil {
		v.form.clear()
		v.releaseForm()
		v.releaseForm = nil
	}
}

// who returns the user of the session; nobody without one.
func (v *visit) who() (nobody acl.Principal) {
	if v.session == nil {
		return nobody
	}
	return v.session.who
}

// hold claims memory for so many bytes more, until the answer has been sent. The API
// has given back what it claimed for them, and the client may read slowly.
func (v *visit) hold(size int) error {
	release, status, err := v.s.api.HoldAnswer(v.who(), int64(size))
	if err != nil {
		return &refusal{status, sentence(err.Error())}
	}
	v.held = append(v.held, release)
	return nil
}

func (v *visit) release() {
	for _, release := range v.held {
		release()
	}
}

// holding is hold for what the API has returned as the answer to a read.
func (v *visit) holding(s client.Secret, err error) (client.Secret, error) {
	if err != nil {
		return client.Secret{}, err
	}
	if err := v.hold(cap(s.Value)); err != nil {
		clear(s.Value)
		return client.Secret{}, err
	}
	return s, nil
}

// refusal is an answer of the pages themselves.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// view is the data of the templates. The page itself finds its own in Page.
type view struct {
	Name   string // of the page
	Title  string
	UID    string // "" before the sign-in
	Form   string // the value of the field form-token
	Nav    []link
	Assets map[string]string // their addresses, by name
	Bar    bar
	Notice string // what was done just now
	Page   any
}

type link struct {
	To, Text string
	Current  bool
}

// notices are what a page can say that something was done, by the name that a
// redirect gives it. No text comes from the address.
var notices = map[string]string{
	"share-entered":    "The share was entered. More are needed.",
	"shares-forgotten": "The shares entered so far are forgotten.",
	"unsealed":         "The store is unsealed. If you signed in with a password while it was sealed, sign in again.",
	"created":          "Created.",
	"saved":            "Saved.",
	"deleted":          "Deleted.",
	"password":         "The password was changed, and all tokens of the account have ended.",
	"tokens":           "All tokens of the account have ended.",
	"rotating":         "There is a new data key. Records are encrypted again with it.",
	"sealed":           "The store was sealed. Sessions from before do not work until it is unsealed: sign in again, for example to unseal it.",
	clusterSignedOut:   "You have also signed out of the cluster in this browser. The token of that sign-in lives on until it expires or is revoked.",

	"binned":    "Deleted. It can be undeleted for 30 days.",
	"undeleted": "The secret was undeleted.",
	"restored":  "The version was restored: its value is now the newest one.",
	"removed":   "The version was removed.",
	"purged":    "The secret was purged: nothing is left of it.",
}

// view returns the frame of a page.
func (v *visit) view(title string, data any) *view {
	out := &view{Name: v.page.name, Title: title, Assets: assetAddresses, Bar: v.bar(), Notice: notices[v.query("done")], Page: data}
	if v.session == nil {
		return out
	}
	out.UID, out.Form = v.session.who.UID, v.session.Form
	isSuperuser := v.may("administer", "")
	for _, p := range table() {
		nav := p.nav
		if p.admin && !isSuperuser {
			continue
		}
		if p.name == "unseal" && out.Bar.State == "sealed" {
			nav = "Unseal"
		}
		if nav != "" {
			out.Nav = append(out.Nav, link{address(p.name), nav, p.name == v.page.name})
		}
	}
	return out
}

// address is the relative address of a page. That of the overview is not empty: an
// empty one would be the page itself.
func address(name string, query ...string) string {
	to := name
	if to == "" {
		to = "./"
	}
	if len(query) > 0 {
		q := make(url.Values)
		for i := 0; i+1 < len(query); i += 2 {
			q.Add(query[i], query[i+1])
		}
		to += "?" + q.Encode()
	}
	return to
}

//go:embed pages/*.html
var templateFiles embed.FS

// templates are parsed by servers only: that would be a third of the time that a
// command takes to start.
var templates = sync.OnceValue(loadTemplates)

// loadTemplates joins each page with the frame. Files whose names begin with an
// underscore have blocks for all pages.
func loadTemplates() map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(template.FuncMap{"address": address}).ParseFS(templateFiles, "pages/_*.html"))
	files, err := templateFiles.ReadDir("pages")
	if err != nil {
		panic(err) // they are part of the program
	}
	all := make(map[string]*template.Template)
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), path.Ext(f.Name()))
		if !strings.HasPrefix(name, "_") {
			all[name] = template.Must(template.Must(frame.Clone()).ParseFS(templateFiles, "pages/"+f.Name()))
		}
	}
	return all
}

var assetAddresses = func() map[string]string {
	all := make(map[string]string)
	for name, a := range assets {
		all[name] = name + "?" + a.version
	}
	return all
}()

// show answers with a page: the template of a name, with data as its .Page.
func (v *visit) show(name string, data any) error {
	return v.showAs(http.StatusOK, v.page.title, name, data)
}

func (v *visit) showAs(status int, title, name string, data any) error {
	return v.execute(status, templates()[name], "frame", v.view(title, data))
}

// execute writes a template, and the secrets of the visit in their places.
func (v *visit) execute(status int, t *template.Template, block string, data any) error {
	var text bytes.Buffer
	if err := t.ExecuteTemplate(&text, block, data); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	if err := v.hold(text.Cap()); err != nil {
		return err
	}
	if len(v.slots) == 0 { // nothing of the form is left to write, and the client may read slowly
		v.endForm()
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	rest := text.Bytes()
	for _, s := range v.slots {
		before, after, found := bytes.Cut(rest, []byte(s.marker))
		if !found {
			continue
		}
		_, _ = v.w.Write(before) // an error means that the client has left
		writeEscaped(v.w, s.value)
		rest = after
	}
	_, _ = v.w.Write(rest)
	return nil
}

// slot is the place of a secret in a page.
type slot struct {
	marker string
	value  []byte
}

// slot returns what a template has to show where value is to be, as the text of an
// element. Templates use slots once, in the order in which they were made. The
// value belongs to the visit, which overwrites it at the end.
func (v *visit) slot(value []byte) string {
	v.slots = append(v.slots, slot{"slot-" + rand.Text(), value})
	return v.slots[len(v.slots)-1].marker
}

func (v *visit) clearSlots() {
	for _, s := range v.slots {
		clear(s.value)
	}
}

// writeEscaped writes bytes as the text of an element. What is not text becomes a
// replacement character.
func writeEscaped(w io.Writer, value []byte) {
	from := 0
	for i, c := range value {
		var escaped string
		switch c {
		case '<':
			escaped = "&lt;"
		case '>':
			escaped = "&gt;"
		case '&':
			escaped = "&amp;"
		case '"':
			escaped = "&#34;"
		case '\'':
			escaped = "&#39;"
		case '\r':
			escaped = "&#13;" // a parser would take it for a line break
		case 0:
			escaped = "\ufffd"
		default:
			continue
		}
		_, _ = w.Write(value[from:i]) // an error means that the client has left
		_, _ = io.WriteString(w, escaped)
		from = i + 1
	}
	_, _ = w.Write(value[from:])
}

// redirect sends the browser to another page, so that reloading it repeats nothing.
// done, if not "", names one of the notices.
func (v *visit) redirect(done, name string, query ...string) error {
	if done != "" {
		query = append(query, "done", done)
	}
	redirect(v.w, address(name, query...))
	return nil
}

// problem is the data of the page about an error.
type problem struct {
	Text      string
	RequestID string
	SignIn    string // where to sign in; "": that does not help
}

// fail answers with what went wrong.
func (v *visit) fail(err error) {
	status, title, p := http.StatusInternalServerError, "Something went wrong", problem{Text: "The server has made a mistake. Its log says more."}
	var own *refusal
	var api *client.Error
	switch {
	case errors.Is(err, errFromElsewhere):
		if err := v.showAs(http.StatusOK, "One moment", "continue", v.here()); err != nil {
			v.fail(err)
		}
		return
	case errors.Is(err, errNoSession), errors.Is(err, client.ErrUnauthorized) && v.session != nil:
		v.toSignIn()
		return
	case errors.Is(err, errNotKnown):
		status, title, p.Text = http.StatusServiceUnavailable, "Please wait",
			"The server cannot check your session now: it has just been unsealed, or its storage does not answer. Try again in a moment."
	case errors.As(err, &own):
		status, title, p.Text = own.status, http.StatusText(own.status), own.text
	case errors.As(err, &api):
		status, title, p = api.Status, titleOf(api), problem{Text: sentence(api.Description), RequestID: api.RequestID}
	default:
		v.s.log.Error("a page could not be shown", zap.String("page", v.page.name), zap.Error(err))
	}
	if err := v.showAs(status, title, "problem", p); err != nil {
		v.s.log.Error("a page could not be shown", zap.String("page", "problem"), zap.Error(err))
	}
}

// here is the relative address of this request. It begins with "./": a template takes
// what comes before a colon in the query for a scheme, unless a slash comes first.
func (v *visit) here() string {
	here := "./" + v.page.name
	if v.r.URL.RawQuery != "" {
		here += "?" + v.r.URL.RawQuery
	}
	return here
}

// titleOf is the title of the page about a refusal of the API.
func titleOf(e *client.Error) string {
	switch {
	case errors.Is(e, client.ErrSealed):
		return "The store is sealed"
	case errors.Is(e, client.ErrDenied):
		return "You may not do that"
	}
	return http.StatusText(e.Status)
}

// sentence makes a text of the API one that a page can show.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// toSignIn sends the browser to the page where people sign in, and from there back.
func (v *visit) toSignIn() {
	var query []string
	if v.r.Method == http.MethodGet && v.page.name != "" {
		query = append(query, "next", v.here())
	}
	if done := v.query("done"); notices[done] != "" {
		query = append(query, "done", done)
	}
	redirect(v.w, address(signInPage, query...))
}

func showNotFound(v *visit) error { return &refusal{http.StatusNotFound, "There is no such page."} }

// bar is what each page says about the store.
type bar struct {
	State string // ready, impaired, sealed, away, unknown
	Text  string
}

// barPage is the name of the page that has only the bar. Asking for it is no use of
// a session.
const barPage = "bar"

// bar asks the server how it is.
func (v *visit) bar() bar {
	open, err := v.s.callAPI(v.r, "")
	if err != nil {
		return bar{"unknown", "The state of the store is not known."}
	}
	text, err := open.Readiness(v.ctx())
	var e *client.Error
	switch {
	case err == nil && text == "ready":
		return bar{State: "ready"}
	case err == nil:
		return bar{"impaired", sentence(text)}
	case errors.Is(err, client.ErrSealed):
		return bar{"sealed", "The store is sealed: secrets can neither be read nor changed."}
	case errors.Is(err, client.ErrUninitialized):
		return bar{"sealed", "The store is not initialized yet."}
	case errors.As(err, &e):
		return bar{"away", sentence(e.Description)}
	}
	return bar{"unknown", "The state of the store is not known."}
}

func showBar(v *visit) error {
	return v.execute(http.StatusOK, templates()["problem"], "bar", v.bar())
}

// overview is the data of the first page.
type overview struct {
	Status wire.SealStatus
	Store  wire.Backend
	Keys   *wire.Keys // nil if they are unknown, or the user may not know them
	Name   string     // of the server's machine, for superusers; "" if it is not known
}

func showOverview(v *visit) error {
	status, err := v.api.SealStatus(v.ctx())
	if err != nil {
		return err
	}
	o := overview{Status: status}
	if status.Server != nil {
		o.Name = hostName()
	}
	if o.Store, err = v.api.Status(v.ctx()); err != nil && !errors.Is(err, client.ErrDenied) {
		return err
	}
	if keys, err := v.api.Keys(v.ctx()); err == nil { // else the bar says what is wrong
		o.Keys = &keys
	}
	return v.show("overview", o)
}
