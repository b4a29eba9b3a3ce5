package web

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// checkPage is the data of the page that checks a definition.
type checkPage struct {
	Definition string // where to show the definition again; "" on the first visit
	Findings   []finding
	Problem    string
}

// finding is a finding with the path of the secret that the user can create; "" if
// there is none.
type finding struct {
	wire.Finding
	Missing string
}

func showCheck(v *visit) error { return v.show("check", checkPage{}) }

// check says whether an app, pod or job would get its secrets. A definition may hold
// passwords, so that it is shown again as a value.
func check(v *visit) error {
	definition := bytes.ReplaceAll(v.form.secret("definition"), []byte("\r\n"), []byte("\n"))
	p, status := checkPage{Definition: v.slot(definition)}, http.StatusOK
	found, err := v.api.Check(v.ctx(), definition)
	for _, f := range found {
		missing := ""
		if path := strings.Trim(f.Source, "/"); f.Problem == "does not exist" && v.may("create", path) { // clients may rely on this text
			missing = path
		}
		p.Findings = append(p.Findings, finding{f, missing})
	}
	if refused := new(client.Error); errors.As(err, &refused) && (errors.Is(err, client.ErrBadRequest) || errors.Is(err, client.ErrTooLarge)) {
		p.Problem, status = sentence(refused.Description), refused.Status
	} else if err != nil {
		return err
	}
	return v.showAs(status, v.page.title, "check", p)
}
