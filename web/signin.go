package web

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// signInPage is the name of the page where people sign in.
const signInPage = "sign-in"

// signInForm is the data of the page where people sign in.
type signInForm struct {
	Accounts bool // there are passwords
	// Cluster is the user of the cookie with which the browser has signed in to the
	// cluster; "" if there is none.
	Cluster   string
	Providers []link
	Problem   string
	Next      string // the page to go to
}

func showSignIn(v *visit) error {
	if v.session != nil {
		return v.redirect("", "")
	}
	return v.showSignInForm(http.StatusOK, "", v.query("next"))
}

func (v *visit) showSignInForm(status int, trouble, next string) error {
	f := signInForm{Accounts: v.s.cfg.Accounts, Problem: trouble, Next: next}
	if token := v.clusterToken(); token != "" {
		if who, err := v.s.cfg.Verify(token); err == nil {
			f.Cluster = who.UID
		}
	}
	if f.Accounts {
		// Without them there are other ways to sign in.
		providers, _ := v.api.Identities().Providers(v.ctx())
		for _, name := range slices.Sorted(maps.Keys(providers)) {
			if to := providers[name].Config[wire.StartSession]; to != "" {
				f.Providers = append(f.Providers, link{To: ".." + v.s.withNext(to, next), Text: cmp.Or(providers[name].Description, name)})
			}
		}
	}
	return v.showAs(status, v.page.title, "sign-in", f)
}

// maxNext bounds a page to return to in the address of a provider.
const maxNext = 900

// withNext returns the address where a sign-in at a provider begins that returns to a
// page. If that cannot be, it returns to the first page.
func (s *Server) withNext(start, wanted string) string {
	page := s.next(wanted)
	u, err := url.Parse(start)
	if err != nil || strings.HasPrefix(page, address("")) || len(page) > maxNext || strings.ContainsAny(page, `#\"'<>`) {
		return start
	}
	q := u.Query()
	q.Set("target", q.Get("target")+"/"+page)
	u.RawQuery = q.Encode()
	return u.String()
}

// clusterToken returns the token of the cookie that a sign-in to the cluster leaves;
// "" unless there is exactly one.
func (v *visit) clusterToken() string {
	all := v.r.CookiesNamed(wire.TokenCookie)
	if len(all) != 1 || len(all[0].Value) > maxToken {
		return ""
	}
	return all[0].Value
}

// adopt makes a session for a browser that has signed in to the cluster, and was not
// here before. errNoSession.
func (v *visit) adopt() (*session, error) {
	token := v.clusterToken()
	if token == "" || v.r.Method != http.MethodGet {
		return nil, errNoSession
	}
	x, err := v.start(token)
	var e *client.Error
	if errors.As(err, &e) {
		return nil, errNoSession
	}
	return x, err
}

// start makes a session for a token. The API says whether it is good: it counts and
// logs the attempt.
func (v *visit) start(token string) (*session, error) {
	as, err := v.s.callAPI(v.r, token)
	if err != nil {
		return nil, err
	}
	if _, err := as.SealStatus(v.ctx()); err != nil && !errors.Is(err, client.ErrDenied) {
		return nil, err
	}
	x, err := v.s.sessions.start(token)
	if err != nil {
		return nil, errNoSession
	}
	return x, nil
}

// errFromElsewhere: a page of another site leads here, so that the browser does not
// send the cookie. A page that loads this one again makes it do so.
var errFromElsewhere = errors.New("the request comes from another site")

// fromElsewhere reports whether a browser follows a link of another site.
func (v *visit) fromElsewhere() bool {
	site := v.r.Header.Get("Sec-Fetch-Site")
	return v.r.Method == http.MethodGet && (site == "cross-site" || site == "same-site") && v.r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// next returns where to go after a sign-in. It is only a page of this server,
// whatever the address says.
func (s *Server) next(wanted string) string {
	name, query, _ := strings.Cut(strings.TrimPrefix(wanted, "./"), "?")
	p := s.pages[name]
	if p == nil || p.open || p.get == nil || strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return address("")
	}
	if query != "" {
		return address(name) + "?" + query
	}
	return address(name)
}

// signIn makes a session, always a new one: an id that somebody has planted is never
// used.
func signIn(v *visit) error {
	next := v.form.text("next")
	refused := func(err error) error {
		var e *client.Error
		switch {
		case errors.As(err, &e):
			return v.showSignInForm(e.Status, sentence(e.Description), next)
		case errors.Is(err, errNoSession):
			return v.showSignInForm(http.StatusUnauthorized, "This token cannot be used here.", next)
		}
		return err
	}
	token, err := v.tokenOfForm()
	switch {
	case err != nil:
		return refused(err)
	case token == "":
		return v.showSignInForm(http.StatusBadRequest, "Fill in the form.", next)
	case len(token) > maxToken:
		return v.showSignInForm(http.StatusBadRequest, sentence(errTokenTooLong.Error()), next)
	}
	x, err := v.start(token)
	if err != nil {
		return refused(err)
	}
	if err := v.s.setCookie(v.w, v.r, x); err != nil {
		return err
	}
	redirect(v.w, v.s.next(next))
	return nil
}

// tokenOfForm returns the token of somebody who signs in: one made for a password, of
// the cookie of the cluster, or as it was pasted.
func (v *visit) tokenOfForm() (string, error) {
	switch {
	case v.form.has("password") && v.s.cfg.Accounts:
		uid := v.form.text("uid")
		return v.api.Identities().SignIn(v.ctx(), wire.Login{UID: &uid, Password: v.form.secret("password")})
	case v.form.has("cluster"):
		return v.clusterToken(), nil
	}
	pasted := bytes.TrimSpace(v.form.secret("token"))
	for _, prefix := range []string{"token=", "Bearer "} { // as in a header
		pasted = bytes.TrimPrefix(pasted, []byte(prefix))
	}
	return string(pasted), nil
}

// signOut ends the session.
func signOut(v *visit) error {
	v.w.Header().Del("Set-Cookie") // of the session that would go on
	done := ""
	if len(v.r.CookiesNamed(wire.TokenCookie)) > 0 {
		done = clusterSignedOut
		v.s.dropCookie(v.w, v.r, wire.TokenCookie, http.SameSiteLaxMode)
		v.s.dropCookie(v.w, v.r, wire.InfoCookie, http.SameSiteLaxMode)
	}
	v.s.dropCookie(v.w, v.r, Cookie, http.SameSiteStrictMode)
	if v.unchecked {
		return errNotRecorded
	}
	if v.session != nil {
		if err := v.s.sessions.end(v.ctx(), v.session); err != nil {
			v.s.log.Warn("could not record the end of a session", zap.String("uid", v.session.who.UID), zap.Error(err))
			return errNotRecorded
		}
	}
	return v.redirect(done, "sign-out")
}

// errNotRecorded is the answer to a sign-out that the storage did not take, or of a
// session that this server cannot open, as while it is sealed.
var errNotRecorded = &refusal{http.StatusServiceUnavailable, "You have signed out in this browser, but the server could not record it: " +
	"a copy of the cookie of this session may work until 15 minutes after its last use."}

// clusterSignedOut names the notice that the cookie of the cluster is gone, too.
const clusterSignedOut = "cluster-signed-out"

func showSignedOut(v *visit) error { return v.show("sign-out", nil) }
