package web

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// signInPage is the name of the page where people sign in.
const signInPage = "sign-in"

// signInForm is the data of the page where people sign in.
type signInForm struct {
	Accounts  bool
	Problem   string
	UID, Next string
	Continue  bool // a cookie of the cluster can be used
}

func showSignIn(v *visit) error {
	if v.session != nil {
		return v.redirect("", "")
	}
	return v.show("sign-in", signInForm{Accounts: v.s.cfg.Accounts, Next: v.query("next")})
}

// next returns where to go after a sign-in. It is only a page of this server,
// whatever the address says.
func (v *visit) next(wanted string) string {
	name, query, _ := strings.Cut(wanted, "?")
	p := v.s.pages[name]
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
	refused := func(status int, text string) error {
		f := signInForm{Accounts: v.s.cfg.Accounts, Problem: text, Next: v.form.text("next")}
		return v.showAs(status, v.page.title, "sign-in", f)
	}
	var token string
	if v.form.has("password") && v.s.cfg.Accounts {
		uid := v.form.text("uid")
		var err error
		token, err = v.api.Identities().SignIn(v.ctx(), wire.Login{UID: &uid, Password: v.form.secret("password")})
		if err != nil {
			return v.signInRefused(err, refused)
		}
	} else {
		token = string(bytes.TrimSpace(v.form.secret("token")))
		token = strings.TrimPrefix(strings.TrimPrefix(token, "token="), "Bearer ")
	}
	if token == "" {
		return refused(http.StatusBadRequest, "Fill in the form.")
	}
	if len(token) > maxToken {
		return refused(http.StatusBadRequest, "The token is too long for a cookie of the browser.")
	}
	// The API says whether the token is good: it counts and logs the attempt.
	asUser, err := v.s.callAPI(v.r, token)
	if err != nil {
		return err
	}
	if _, err := asUser.SealStatus(v.ctx()); err != nil && !errors.Is(err, client.ErrDenied) {
		return v.signInRefused(err, refused)
	}
	x, err := v.s.sessions.start(token)
	if err != nil {
		return refused(http.StatusUnauthorized, "This token cannot be used here.")
	}
	if err := v.s.setCookie(v.w, v.r, x); err != nil {
		return err
	}
	redirect(v.w, v.next(v.form.text("next")))
	return nil
}

// signInRefused shows why a sign-in failed.
func (v *visit) signInRefused(err error, show func(status int, text string) error) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	return show(e.Status, sentence(e.Description))
}

// signOut ends the session.
func signOut(v *visit) error {
	if v.session != nil {
		if err := v.s.sessions.end(v.ctx(), v.session); err != nil {
			return err
		}
		v.w.Header().Del("Set-Cookie") // of the session that goes on
	}
	v.s.dropCookie(v.w, v.r, Cookie)
	return v.redirect("", "sign-out")
}

func showSignedOut(v *visit) error { return v.show("sign-out", nil) }
