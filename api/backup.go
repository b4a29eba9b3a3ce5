package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"

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
	busy            atomic.Bool
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
	if !h.busy.CompareAndSwap(false, true) {
		return answer.Reply{}, &problem.Problem{Status: http.StatusConflict, Text: "this server is making another backup: wait until it is done"}
	}
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
		h.busy.Store(false)
	})
	piece := make([]byte, backupPiece)
	next := func() ([]byte, error) {
		// How long this takes is up to the client.
		if err := h.gate.recheck(x); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(content, piece)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, x.req.problemOf(err)
		}
		return piece[:n], nil
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
