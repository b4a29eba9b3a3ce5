package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/acl"
	"secretstore/api/audit"
	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	// heartbeat is how often a stream says that it lives, for proxies and
	// clients that wait for it.
	heartbeat = 15 * time.Second
	// eventTime is how long the client may take to read what is written.
	eventTime = 15 * time.Second
)

// The reasons in the audit line of the end of a stream.
const (
	endedByClient = "stream closed: the client has left"
	endedBySlow   = "stream closed: the client does not read"
	endedByServer = "stream closed: "
)

// stream is an answer that goes on. Whoever has one closes it.
type stream struct {
	events *seal.Stream
	leave  func()
	last   uint64 // id of the last event
}

func (st *stream) close() {
	st.events.Close()
	st.leave()
}

// streamChanges begins to tell of the secrets below a folder.
func (s *Server) streamChanges(c *call) (rep reply, err error) {
	rep = reply{status: http.StatusOK, contentType: wire.TypeEvents}
	if c.r.Method == http.MethodHead {
		return rep, nil
	}
	select {
	case <-s.waits.ending:
		return reply{}, stopping()
	default:
	}
	if err := c.skipBody(); err != nil {
		return reply{}, err
	}
	leave, err := s.waits.enter(waiterOf(c.principal))
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.readContext(c)
	defer cancel()
	events, err := s.store.Stream(ctx, c.path)
	if err != nil {
		leave()
		return reply{}, err
	}
	rep.stream = &stream{events: events, leave: leave}
	return rep, nil
}

// runStream sends events until one side ends it, and has that written to the
// audit log.
func (s *Server) runStream(c *call, st *stream) {
	c.wait()
	began := time.Now()
	reason, end := s.sendEvents(c, st)
	c.waited = time.Since(began)
	if end != nil {
		reason = endedByServer + end.text
		st.send(c, wire.EventEnd, wire.Error{Title: title(end.status), Description: end.text}) // what then goes wrong is the client's loss
	}
	closed := reply{status: http.StatusOK}
	if s.audit == nil {
		return
	}
	e := s.auditEntry(c, &closed)
	e.Reason = reason
	if end != nil && (end.status == http.StatusUnauthorized || end.status == http.StatusForbidden) {
		e.Outcome = audit.Denied
	}
	if s.audit.Append(&e) != nil {
		s.metrics.auditFailures.Inc()
	}
}

// sendEvents returns why the stream ends: a reason of the client, or a problem
// that the client is told.
func (s *Server) sendEvents(c *call, st *stream) (reason string, end *problem) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	expiry := time.NewTimer(c.patience(1<<63 - 1))
	defer expiry.Stop()
	if err := st.begin(c); err != nil {
		return endedBySlow, nil
	}
	for {
		select {
		case <-st.events.Woken():
			events, err := st.events.Take()
			for _, e := range events {
				if err := s.recheck(c); err != nil {
					return "", problemOf(err)
				}
				if err := s.sendEvent(c, st, e); err != nil {
					return endedBySlow, nil
				}
			}
			if err != nil {
				return "", problemOf(err)
			}
		case <-beat.C:
			if st.write(c, ": "+wire.EventPing+"\n\n") != nil {
				return endedBySlow, nil
			}
		case <-check.C:
			if err := s.recheck(c); err != nil {
				return "", problemOf(err)
			}
		case <-expiry.C:
			if err := s.recheck(c); err != nil {
				return "", problemOf(err)
			}
			expiry.Reset(c.patience(1<<63 - 1))
		case <-s.waits.ending:
			return "", stopping()
		case <-c.r.Context().Done():
			return endedByClient, nil
		}
	}
}

// begin sends the head. A client that has been told something before may have
// missed what came since.
func (st *stream) begin(c *call) error {
	if len(c.r.Header["Last-Event-Id"]) > 0 {
		return st.send(c, wire.EventResync, wire.Event{})
	}
	return st.write(c, ": open\n\n")
}

// sendEvent sends an event if the client may know of it.
func (s *Server) sendEvent(c *call, st *stream, e seal.Event) error {
	if e.Kind == seal.EventResync {
		return st.send(c, wire.EventResync, wire.Event{})
	}
	if !s.policy().MayHear(c.principal, c.request(), e.Path) {
		return nil
	}
	if e.Kind == seal.EventDeleted {
		return st.send(c, wire.EventDeleted, wire.Event{Name: e.Path.String()})
	}
	return st.send(c, wire.EventChanged, wire.Event{Name: e.Path.String(), Version: e.Version, ETag: etagOf(e.ID)})
}

// send writes one event. Names of secrets and constant texts hold no line break.
func (st *stream) send(c *call, kind string, doc any) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	st.last++
	return st.write(c, "id: "+strconv.FormatUint(st.last, 10)+"\nevent: "+kind+"\ndata: "+string(data)+"\n\n")
}

func (st *stream) write(c *call, text string) error {
	ctl := http.NewResponseController(c.w)
	_ = ctl.SetWriteDeadline(time.Now().Add(eventTime)) // a writer without deadlines cannot hang for ever either
	if _, err := c.w.Write([]byte(text)); err != nil {
		return err
	}
	return ctl.Flush()
}

// streamFolder reads the folder that a stream is about. The parameter is
// decoded already: an escape in it is no part of any name.
func streamFolder(q *query) (acl.Path, error) {
	if q.prefixes > 1 {
		return acl.Path{}, badRequest("prefix may be given once")
	}
	for i := range len(q.prefix) {
		if q.prefix[i] == '%' {
			return acl.Path{}, acl.ErrInvalidPath
		}
	}
	return acl.ParseFolder(q.prefix)
}
