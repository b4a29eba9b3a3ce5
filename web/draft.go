package web

import (
	"errors"
	"strings"

	"secretstore/api/client"
)

// draft is a form that was refused, with what the user has typed into it. The zero
// value is none.
type draft struct {
	do      string // which form: its field "do"
	problem string
	form    *form
}

// Is reports whether it was this form that was refused.
func (d draft) Is(do string) bool { return d.do != "" && d.do == do }

// Problem says why this form was refused; "" if it was not.
func (d draft) Problem(do string) string {
	if d.Is(do) {
		return d.problem
	}
	return ""
}

// Of returns what was typed into a field of this form. Templates never ask for a
// password. A private key, pasted in place of a public one, is not shown again.
func (d draft) Of(do, field string) string {
	if !d.Is(do) || strings.Contains(d.form.text(field), "PRIVATE KEY") {
		return ""
	}
	return d.form.text(field)
}

// again shows the page of a form once more if that was refused with err, with what the
// user has typed. All other errors, and those of show, end in the page about err.
func (v *visit) again(err error, show func(status int, d draft) error) error {
	d, status := draft{do: v.form.text("do"), form: v.form}, 0
	var own *refusal
	var api *client.Error
	switch {
	case errors.Is(err, client.ErrUnauthorized):
		return err
	case errors.As(err, &own):
		status, d.problem = own.status, own.text
	case errors.As(err, &api):
		status, d.problem = api.Status, sentence(api.Description)
	default:
		return err
	}
	if show(status, d) != nil {
		return err
	}
	return nil
}
