package web

import (
	"errors"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// questions are what an explanation can be about.
var questions = []string{"read", "create", "update", "delete", "list", "watch", "resolve"}

// explainPage is the data of the page that says why somebody may do something, and
// who else.
type explainPage struct {
	Actions                    []string
	UID, Action, Path, Service string
	Asked                      bool
	Problem                    string // with the question
	Explanation                wire.Explanation
	WhoCan                     *wire.WhoCan // nil: the user may not ask
}

func showExplain(v *visit) error {
	p := explainPage{Actions: questions, UID: v.query("uid"), Action: v.query("action"), Path: v.query("path"), Service: v.query("service")}
	if p.Action == "" {
		return v.show("explain", p)
	}
	q := client.Question{UID: p.UID, Action: p.Action, Path: p.Path}
	if p.Service != "" {
		q.Service = &p.Service
	}
	var err error
	var refused *client.Error
	p.Explanation, err = v.api.Explain(v.ctx(), q)
	if errors.As(err, &refused) && !errors.Is(err, client.ErrUnauthorized) {
		p.Problem = sentence(refused.Description)
		return v.showAs(refused.Status, v.page.title, "explain", p)
	}
	if err != nil {
		return err
	}
	p.Asked = true
	who, err := v.api.WhoCan(v.ctx(), p.Action, p.Path)
	switch {
	case err == nil:
		p.WhoCan = &who
	case !errors.As(err, &refused):
		return err
	}
	return v.show("explain", p)
}
