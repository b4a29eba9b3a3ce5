package api

import (
	"errors"
	"net/http"
	"strings"

	"secretstore/api/audit"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

// health answers the requests that need no token.
type health struct {
	store   *seal.Store
	storage *monitor.Prober
	audit   *auditor
	faults  *faults
	pages   *monitor.Pages
	// accounts are nil without an IAM.
	accounts acs.Accounts
}

// ping says pong while the storage answers, sealed or not.
func (h *health) ping(*exchange) (answer.Reply, error) {
	if !h.storage.Up() {
		return answer.Reply{}, unlogged(store.ErrUnavailable)
	}
	return answer.Plain("pong")
}

// live says that the process serves requests.
func (h *health) live(*exchange) (answer.Reply, error) { return answer.Plain("live") }

// ready says that secrets can be read: also that the users and grants, without
// which no token is verified, are loaded. A fault that keeps secrets from being
// written is named, but a server that reads is better than none.
func (h *health) ready(*exchange) (answer.Reply, error) {
	if err := problem.Unsealed(h.store.Status()); err != nil {
		return answer.Reply{}, unlogged(err)
	}
	if !h.storage.Up() {
		return answer.Reply{}, unlogged(store.ErrUnavailable)
	}
	if h.accounts != nil {
		if _, err := h.accounts.Directory(); err != nil {
			return answer.Reply{}, unlogged(err)
		}
	}
	if err := h.audit.fault(); err != nil && !errors.Is(err, audit.ErrReserve) {
		return answer.Reply{}, &problem.Problem{Status: http.StatusServiceUnavailable, Retry: true, Text: textUnaudited, Cause: err}
	}
	if mild := h.faults.mild(); len(mild) > 0 {
		return answer.Plain("ready to read, but " + strings.Join(mild, "; "))
	}
	return answer.Plain("ready")
}

// unlogged keeps the answer to a probe out of the log, which would have an
// error each second. The server logs the reason where it happens.
func unlogged(err error) error {
	p := *problem.Of(err)
	p.Failed = false
	return &p
}

func (h *health) metrics(*exchange) (answer.Reply, error) {
	page := h.pages.Page()
	return answer.Reply{Status: page.Status, ContentType: page.ContentType, Body: page.Text}, nil
}
