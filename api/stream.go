package api

import (
	"net/http"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/watch"
	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	// heartbeat is how often a stream shows that it is alive, to proxies and
	// clients that would give up.
	heartbeat = 15 * time.Second
	// forever is longer than any token lives.
	forever time.Duration = 1<<63 - 1
)

// The reasons in the audit line of the end of a stream.
const (
	endedByClient = "stream closed: the client has left"
	endedBySlow   = "stream closed: the client does not read"
	endedByServer = "stream closed: "
)

// stream sends the changes of the secrets below a folder as they happen.
func (h *watches) stream(x *exchange) (rep answer.Reply, err error) {
	rep = answer.Reply{Status: http.StatusOK, ContentType: wire.TypeEvents}
	if x.req.Method == http.MethodHead {
		return rep, nil
	}
	select {
	case <-h.limits.Ending():
		return answer.Reply{}, watch.Stopping()
	default:
	}
	if err := x.body.Skip(); err != nil {
		return answer.Reply{}, err
	}
	leave, err := h.limits.Enter(pool.Of(x.who.principal))
	if err != nil {
		return answer.Reply{}, err
	}
	x.out.atEnd(leave)
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	events, err := h.store.Stream(ctx, x.req.path)
	if err != nil {
		return answer.Reply{}, err
	}
	x.out.atEnd(events.Close)
	rep.Stream = func() { h.run(x, events) }
	return rep, nil
}

// run sends events until one side ends the stream, and writes that to the audit
// log.
func (h *watches) run(x *exchange, events *seal.Stream) {
	x.liftDeadlines()
	began := time.Now()
	out := &watch.Events{W: x.w}
	reason, end := h.sendEvents(x, events, out)
	x.out.waited = time.Since(began)
	denied := false
	if end != nil {
		reason = endedByServer + end.Text
		denied = end.Status == http.StatusUnauthorized || end.Status == http.StatusForbidden
		_ = out.Send(wire.EventEnd, wire.Error{Title: answer.Title(end.Status), Description: end.Text}) // nothing more can be done for the client
	}
	h.audit.streamEnded(x, reason, denied)
}

// sendEvents returns why the stream ends: a reason of the client, or a problem
// to tell the client.
func (h *watches) sendEvents(x *exchange, events *seal.Stream, out *watch.Events) (reason string, end *problem.Problem) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	expiry := time.NewTimer(x.who.atMost(forever))
	defer expiry.Stop()
	if err := out.Begin(x.req.Header); err != nil {
		return endedBySlow, nil
	}
	for {
		select {
		case <-events.Woken():
			batch, err := events.Take()
			for _, e := range batch {
				if err := h.gate.recheck(x); err != nil {
					return "", problem.Of(err)
				}
				if err := h.sendEvent(x, out, e); err != nil {
					return endedBySlow, nil
				}
			}
			if err != nil {
				return "", problem.Of(err)
			}
		case <-beat.C:
			if out.Ping() != nil {
				return endedBySlow, nil
			}
		case <-check.C:
			if err := h.gate.recheck(x); err != nil {
				return "", problem.Of(err)
			}
		case <-expiry.C:
			if err := h.gate.recheck(x); err != nil {
				return "", problem.Of(err)
			}
			expiry.Reset(x.who.atMost(forever))
		case <-h.limits.Ending():
			return "", watch.Stopping()
		case <-x.req.Context().Done():
			return endedByClient, nil
		}
	}
}

// sendEvent sends an event if the client may know about it.
func (h *watches) sendEvent(x *exchange, out *watch.Events, e seal.Event) error {
	switch {
	case e.Kind == seal.EventResync:
		return out.Send(wire.EventResync, wire.Event{})
	case e.Kind == seal.EventIncomplete:
		return out.Send(wire.EventIncomplete, wire.Event{})
	case !h.gate.policy().MayHear(x.who.principal, x.req.question(), e.Path):
		return nil
	case e.Kind == seal.EventDeleted:
		return out.Send(wire.EventDeleted, wire.Event{Name: e.Path.String()})
	}
	return out.Send(wire.EventChanged, wire.Event{Name: e.Path.String(), Version: e.Version, ETag: head.ETag(e.ID)})
}

// streamFolder reads the folder of a stream. The parameter is decoded already:
// no name contains an escape.
func streamFolder(q *head.Query) (acl.Path, error) {
	if q.Prefix.Times > 1 {
		return acl.Path{}, problem.BadRequest("prefix may be given once")
	}
	if strings.Contains(q.Prefix.Value, "%") {
		return acl.Path{}, acl.ErrInvalidPath
	}
	return acl.ParseFolder(q.Prefix.Value)
}
