package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const textBadTask = `the body must be a JSON object {"service":"/group/app","ttl":"60s","uses":1}; ttl is from 1s to 24h, ` +
	`uses from 0 (any number while the token lives) to 1000; left out, they are 60s and 1`

// The values that a request may leave out.
const (
	defaultTaskTTL  = time.Minute
	defaultTaskUses = 1
)

// taskRequest is what a request for a task token asks for, besides the service.
type taskRequest struct {
	ttl  time.Duration
	uses int
}

// readTaskRequest reads the body of a request for a task token, which says what
// service it is about.
func readTaskRequest(x *exchange) error {
	doc, err := decode[wire.TaskTokenRequest](x)
	if err != nil {
		return err
	}
	r := &x.req
	if r.task, err = parseTaskRequest(doc); err != nil {
		return err
	}
	r.service, err = acl.ParseService(doc.Service)
	r.hasService = err == nil
	return err
}

func parseTaskRequest(doc wire.TaskTokenRequest) (taskRequest, error) {
	t := taskRequest{ttl: defaultTaskTTL, uses: defaultTaskUses}
	if doc.TTL != "" {
		ttl, err := time.ParseDuration(doc.TTL)
		if err != nil {
			return taskRequest{}, problem.BadRequest(textBadTask)
		}
		t.ttl = ttl
	}
	if doc.Uses != nil {
		t.uses = *doc.Uses
	}
	if doc.Service == "" || t.ttl < time.Second || t.ttl > token.MaxTaskTTL || t.uses < 0 || t.uses > token.MaxTaskUses {
		return taskRequest{}, problem.BadRequest(textBadTask)
	}
	return t, nil
}

// tasks makes task tokens.
type tasks struct {
	store       *seal.Store
	credentials Credentials // nil: there are no accounts
}

// mint signs a task token. It stores nothing: only a use is stored.
func (h *tasks) mint(x *exchange) (answer.Reply, error) {
	term, err := h.store.TaskTerm()
	if err != nil {
		return answer.Reply{}, err
	}
	// Whole seconds, rounded up: no token lives shorter than was asked for.
	expires := time.Now().Add(x.req.task.ttl + time.Second - 1).UTC().Truncate(time.Second)
	generation := ""
	if h.credentials != nil {
		if generation, err = h.credentials.MinterGeneration(x.who.principal.UID); errors.Is(err, token.ErrInvalid) {
			return answer.Reply{}, problem.Unauthorized(problem.NoToken)
		} else if err != nil {
			return answer.Reply{}, err
		}
	}
	task := token.Task{ID: newTaskID(), UID: x.who.principal.UID, Generation: generation, Service: x.req.service, Expires: expires, Uses: x.req.task.uses}
	raw, err := token.SignTask(task, term, h.store.TaskMAC)
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.JSON(wire.TaskToken{Token: raw, Service: task.Service.String(), Expires: expires.Format(time.RFC3339), Uses: task.Uses})
}

func newTaskID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// noLeases answers the endpoints of leases, which no client uses.
func noLeases(*exchange) (answer.Reply, error) {
	return answer.Reply{}, &problem.Problem{Status: http.StatusNotImplemented,
		Text: "leases are not supported: secrets do not expire; change one with PATCH or remove it with DELETE"}
}
