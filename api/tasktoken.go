package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/wire"
)

const (
	textBadTask = `the body must be a JSON object {"service":"/group/app","ttl":"60s","uses":1}; ttl is from 1s to 24h, ` +
		`uses from 0 (any number while the token lives) to 1000; left out, they are 60s and 1`
	textMinterGone = "the task token is void: the permission to have it made was withdrawn"
	// defaultTaskTTL and defaultTaskUses are what a request does not name.
	defaultTaskTTL  = time.Minute
	defaultTaskUses = 1
)

// taskRequest is what a request for a task token asks for, beside the service.
type taskRequest struct {
	ttl  time.Duration
	uses int
}

// taskOf reads the body of a request for a task token.
func (s *Server) taskOf(c *call) error {
	req, err := readJSON[wire.TaskTokenRequest](s, c, smallBody, true, textBadTask)
	if err != nil {
		return err
	}
	if c.minting, err = parseTaskRequest(req); err != nil {
		return err
	}
	c.service, err = acl.ParseService(req.Service)
	c.hasService = err == nil
	return err
}

func parseTaskRequest(req wire.TaskTokenRequest) (*taskRequest, error) {
	t := &taskRequest{ttl: defaultTaskTTL, uses: defaultTaskUses}
	if req.TTL != "" {
		ttl, err := time.ParseDuration(req.TTL)
		if err != nil {
			return nil, badRequest(textBadTask)
		}
		t.ttl = ttl
	}
	if req.Uses != nil {
		t.uses = *req.Uses
	}
	if req.Service == "" || t.ttl < time.Second || t.ttl > token.MaxTaskTTL || t.uses < 0 || t.uses > token.MaxTaskUses {
		return nil, badRequest(textBadTask)
	}
	return t, nil
}

// mintTaskToken signs a task token. Nothing is stored: a use is, when it comes.
func (s *Server) mintTaskToken(c *call) (reply, error) {
	term, err := s.store.TaskTerm()
	if err != nil {
		return reply{}, err
	}
	// Whole seconds, rounded up: a token never lives shorter than it was asked for.
	expires := time.Now().Add(c.minting.ttl + time.Second - 1).UTC().Truncate(time.Second)
	task := token.Task{ID: newTaskID(), UID: c.principal.UID, Service: c.service, Expires: expires, Uses: c.minting.uses}
	raw, err := token.SignTask(task, term, s.store.TaskMAC)
	if err != nil {
		return reply{}, err
	}
	return asJSON(wire.TaskToken{Token: raw, Service: task.Service.String(), Expires: expires.Format(time.RFC3339), Uses: task.Uses})
}

func newTaskID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// authenticateTask checks a task token. A store that cannot check it, because it
// is sealed or its storage is away, says so (503): a 401 would have the task's
// scheduler throw away a token that is good.
func (s *Server) authenticateTask(c *call, raw string) error {
	task, err := token.VerifyTask(raw, time.Now(), s.store.TaskMAC)
	if errors.Is(err, token.ErrInvalid) {
		return &problem{status: http.StatusUnauthorized, text: textUnauthorized, cause: err}
	}
	if err != nil {
		return err
	}
	c.principal, c.task = task.Principal(), &task
	// Who may have no such token made any more has none: else a scheduler's tokens
	// would outlive its permission by a day.
	minter, minting := acl.Principal{UID: task.UID}, acl.Request{Op: acl.MintTaskToken, Service: task.Service, HasService: true}
	if !s.policy().Decide(minter, minting).Allowed {
		return unauthorized(textMinterGone)
	}
	if task.Uses == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), storageTime)
	defer cancel()
	return s.store.TaskSpent(ctx, task.ID, task.Expires, task.Uses)
}

// spendTask records the use of a task token by an answer that hands something
// out. It does so before the answer leaves: of two servers that are asked at once
// with the last use, one answers.
func (s *Server) spendTask(c *call, rep *reply) error {
	if !c.ep.spends || c.free || rep.status != http.StatusOK || c.r.Method == http.MethodHead || c.task.Uses == 0 {
		return nil
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	err := s.store.SpendTask(ctx, c.task.ID, c.task.Expires, c.task.Uses)
	c.note(err, "a use of the task token was recorded")
	return err
}
