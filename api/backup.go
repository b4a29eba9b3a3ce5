package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	// backupRate is how many records a second a backup reads, so that clients
	// hardly notice it.
	backupRate = 10_000
	// backupPiece is how much of a backup is sent at once.
	backupPiece = 64 << 10
)

// backups makes backups, one at a time.
type backups struct {
	store           *seal.Store
	gate            *gate
	release, driver string
	underWay        atomic.Pointer[underWay] // nil if there is none
	last            atomic.Pointer[underWay] // that was sent whole
}

// underWay is a backup that is being made, or was.
type underWay struct {
	uid   string
	since time.Time
}

// lastSent returns when the last backup began that was sent whole, zero if there is
// none since the start of the server.
func (h *backups) lastSent() time.Time {
	if last := h.last.Load(); last != nil {
		return last.since
	}
	return time.Time{}
}

// begin returns the backup that was begun for x, or a problem that says whose is
// still being made.
func (h *backups) begin(x *exchange) (*underWay, error) {
	mine := &underWay{x.who.principal.UID, time.Now()}
	for !h.underWay.CompareAndSwap(nil, mine) {
		if other := h.underWay.Load(); other != nil { // else it has just ended
			return nil, &problem.Problem{Status: http.StatusConflict, Text: fmt.Sprintf("this server is making another backup, for %s since %s: wait until it is done",
				other.uid, other.since.UTC().Format(time.RFC3339))}
		}
	}
	return mine, nil
}

func (h *backups) withoutKey(x *exchange) (answer.Reply, error) { return h.make(x, false) }

func (h *backups) withKey(x *exchange) (answer.Reply, error) { return h.make(x, true) }

// make sends a backup while it is made. If that fails, the last that is sent says
// why, and the connection ends.
func (h *backups) make(x *exchange, bootstrapKey bool) (answer.Reply, error) {
	if err := x.req.query.CheckBoolean(head.FormPause); err != nil {
		return answer.Reply{}, err
	}
	rep := answer.Reply{Status: http.StatusOK, ContentType: wire.TypeBackup}
	if x.req.Method == http.MethodHead {
		return rep, nil
	}
	mine, err := h.begin(x)
	if err != nil {
		return answer.Reply{}, err
	}
	rep.Sent = func() { h.last.Store(mine) }
	ctx, cancel := context.WithCancel(x.req.Context())
	content, out := io.Pipe()
	made := make(chan struct{})
	go func() {
		defer close(made)
		_, err := h.store.Backup(ctx, out, seal.BackupOptions{
			Release: h.release, Storage: h.driver, Rate: backupRate, Pause: x.req.query.Forms&head.FormPause != 0, BootstrapKey: bootstrapKey,
		})
		out.CloseWithError(err) // nil is the end
	}()
	x.out.atEnd(func() {
		cancel()
		content.Close()
		<-made
		h.underWay.Store(nil)
	})
	piece := make([]byte, backupPiece)
	next := func() ([]byte, error) {
		// How long this takes is up to the client.
		if err := h.gate.recheck(x); err != nil {
			return nil, err
		}
		// The errors of ReadFull itself: one that wraps io.EOF is of the storage.
		switch n, err := io.ReadFull(content, piece); err {
		case nil, io.ErrUnexpectedEOF:
			return piece[:n], nil
		case io.EOF:
			return nil, nil
		default:
			return nil, x.req.problemOf(err)
		}
	}
	var failure error
	rep.More = func() ([]byte, error) {
		if failure != nil {
			return nil, failure
		}
		var part []byte
		if part, failure = next(); failure != nil {
			return slices.Concat([]byte(wire.BackupFailed), answer.Of(problem.Of(failure)).Body, []byte("\n")), nil
		}
		return part, nil
	}
	// The first piece says whether there will be a backup at all.
	first, err := next()
	rep.Body = first
	return rep, err
}
