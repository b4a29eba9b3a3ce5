package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"secretstore/acl"
	"secretstore/acl/clientcert"
	"secretstore/acl/token"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/seal"
)

const (
	textMinterGone   = "the task token is void: the permission to have it made was withdrawn"
	textForeignCert  = "the client certificate is not accepted: its user has or had an account here, and must sign in (see --foreign-tokens-for-accounts of the server)"
	textEmergency    = "a token from a sign-in while the store was sealed can only unseal it: sign in again afterwards"
	textBadCert      = "the client certificate is not accepted: it is not valid now, or not from an authority that this server trusts (--tls-client-ca)"
	textNamelessCert = "the client certificate is not accepted: it needs exactly one name that matches --tls-client-uid of this server"
)

// gate finds out who the caller is and whether it may do what it asks.
type gate struct {
	auth         Authenticator
	certificates CertificateAuthenticator // nil: none count
	credentials  Credentials              // nil: there are no accounts
	trusted      []netip.Prefix           // proxies
	policy       func() *acl.Policy
	store        *seal.Store
}

// authenticate sets the principal of the caller. A certificate counts only without
// a token, even a bad one: a request has one principal.
func (g *gate) authenticate(x *exchange) error {
	if g.certificates != nil && head.HasCertificate(x.req.Request) && !head.HasToken(x.req.Request) {
		return g.authenticateCertificate(x)
	}
	raw, err := head.Token(x.req.Request)
	if err != nil {
		return err
	}
	if token.IsTask(raw) {
		return g.authenticateTask(x, raw)
	}
	who, err := g.auth.Verify(raw)
	if errors.Is(err, token.ErrUnchecked) {
		return err // a 503: a 401 would make the client throw away a good token
	}
	if err != nil {
		return &problem.Problem{Status: http.StatusUnauthorized, Text: problem.NoToken, Cause: err}
	}
	if who.UID == "" {
		return problem.Unauthorized(problem.NoToken)
	}
	x.who.principal = who
	return nil
}

// authenticateCertificate checks a client certificate. TLS has shown that the
// client holds its key, and nothing else.
func (g *gate) authenticateCertificate(x *exchange) error {
	chain, err := head.Certificate(x.req.Request, g.trusted)
	if err != nil {
		return err
	}
	who, err := g.certificates.Verify(chain)
	if err == nil && who.UID != "" {
		if err := g.checkForeign(who.UID); err != nil {
			return err
		}
		x.who.principal = who
		return nil
	}
	text := textBadCert
	if errors.Is(err, clientcert.ErrName) {
		text = textNamelessCert
	}
	return &problem.Problem{Status: http.StatusUnauthorized, Text: text, Cause: err}
}

// checkForeign refuses a certificate for a user who must sign in.
func (g *gate) checkForeign(uid string) error {
	if g.credentials == nil {
		return nil
	}
	err := g.credentials.CheckForeign(uid)
	if errors.Is(err, token.ErrInvalid) {
		return &problem.Problem{Status: http.StatusUnauthorized, Text: textForeignCert, Cause: err}
	}
	return err
}

// checkMinter refuses a task token whose minter is no longer the account that
// had it made.
func (g *gate) checkMinter(task *token.Task) error {
	if g.credentials == nil {
		return nil
	}
	err := g.credentials.CheckMinter(task.UID, task.Generation)
	if errors.Is(err, token.ErrInvalid) {
		return &problem.Problem{Status: http.StatusUnauthorized, Text: textMinterGone, Cause: err}
	}
	return err
}

// authenticateTask checks a task token. If the store cannot check it, because
// it is sealed or its storage is away, the answer is a 503: a 401 would make
// the scheduler throw away a good token.
func (g *gate) authenticateTask(x *exchange, raw string) error {
	task, err := token.VerifyTask(raw, time.Now(), g.store.TaskMAC)
	if errors.Is(err, token.ErrInvalid) {
		return &problem.Problem{Status: http.StatusUnauthorized, Text: problem.NoToken, Cause: err}
	}
	if err != nil {
		return err
	}
	x.who.principal, x.who.task = task.Principal(), &task
	// Check the minter again: its tokens must outlive neither its account nor its
	// permission.
	if err := g.checkMinter(&task); err != nil {
		return err
	}
	minter, minting := acl.Principal{UID: task.UID}, acl.Request{Op: acl.MintTaskToken, Service: task.Service, HasService: true}
	if !g.policy().Decide(minter, minting).Allowed {
		return problem.Unauthorized(textMinterGone)
	}
	if task.Uses == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(x.req.Context(), storageTime)
	defer cancel()
	return g.store.TaskSpent(ctx, task.ID, task.Expires, task.Uses)
}

// authorize asks the policy.
func (g *gate) authorize(x *exchange) error {
	x.who.asked = x.question()
	x.who.decision = g.policy().Decide(x.who.principal, x.who.asked)
	if x.who.decision.Allowed && x.who.principal.Emergency && !x.req.ep.emergency {
		x.who.decision.Allowed, x.who.decision.Reason = false, textEmergency
	}
	if x.who.decision.Allowed {
		return nil
	}
	return forbidden(x.who.decision)
}

// recheck repeats, while a request waits, all checks whose result may have
// changed: the token and its keys, the policy, the seal.
func (g *gate) recheck(x *exchange) error {
	if err := g.authenticate(x); err != nil {
		return err
	}
	if err := g.authorize(x); err != nil {
		return err
	}
	return problem.Unsealed(g.store.Status())
}

// spend records the use of a task token by an answer that gives something away.
// It does so before the answer leaves: of two servers that get the last use at
// the same time, one answers.
func (g *gate) spend(x *exchange, rep *answer.Reply) error {
	task := x.who.task
	if !x.req.ep.spends || rep.Status != http.StatusOK || x.req.Method == http.MethodHead || task.Uses == 0 {
		return nil
	}
	ctx, cancel := writeContext(x, 0)
	defer cancel()
	err := g.store.SpendTask(ctx, task.ID, task.Expires, task.Uses)
	x.out.note(err, "a use of the task token was recorded")
	return err
}

// forbidden is the 403 of a denied decision. It names the missing permission.
func forbidden(d acl.Decision) error {
	text, lacks := d.Reason, ""
	if d.Reason == acl.ReasonNoPermission && d.Resource != "" {
		lacks = d.Resource + " " + d.Action
		text += ": ask an administrator for " + d.Action + " on " + d.Resource
	}
	return &problem.Problem{Status: http.StatusForbidden, Text: text, Lacks: lacks}
}
