package server

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/internal/watchfile"
)

// pollEvery is how often watched files are looked at. Two seconds are "within
// seconds" for the operator and nothing for the machine.
const pollEvery = 2 * time.Second

// policyHolder keeps the policy in force. A file that goes bad while the server
// runs changes nothing but the notices: an editor's slip must not lock everybody
// out, nor let anybody in.
type policyHolder struct {
	path       string // "" if there is no file
	superusers []string
	log        *zap.Logger
	notices    *notices

	current atomic.Pointer[acl.Policy]
}

// newPolicyHolder reads the policy file for the first time. On error the holder
// denies everybody everything.
func newPolicyHolder(path string, superusers []string, log *zap.Logger, n *notices) (*policyHolder, error) {
	h := &policyHolder{path: path, superusers: superusers, log: log, notices: n}
	if path == "" {
		h.current.Store((*acl.Policy)(nil).WithSuperusers(superusers...))
		return h, nil
	}
	content, err := watchfile.Read(path)
	if err != nil {
		return h, err
	}
	return h, h.take(content)
}

// Policy returns the policy in force, never nil once the holder was made
// without an error.
func (h *policyHolder) Policy() *acl.Policy { return h.current.Load() }

// take puts a new text of the file in force if it is valid.
func (h *policyHolder) take(content []byte) error {
	p, err := acl.ParsePolicy(content)
	if err != nil {
		return err
	}
	h.current.Store(p.WithSuperusers(h.superusers...))
	return nil
}

// watch follows the file until ctx is done. Each value from hangup has it read
// at once.
func (h *policyHolder) watch(ctx context.Context, hangup <-chan os.Signal) {
	if h.path == "" {
		return
	}
	for ctx.Err() == nil {
		// A hangup restarts the polling, which begins with a reading.
		round, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchfile.Poll(round, h.path, pollEvery, h.changed)
		}()
		select {
		case <-ctx.Done():
		case <-hangup:
		}
		cancel()
		<-done
	}
}

// changed is called with each new state of the file, one call at a time.
func (h *policyHolder) changed(content []byte, err error) {
	if err == nil {
		err = h.take(content)
	}
	if err != nil {
		h.notices.report("policy-file", fmt.Errorf("the file is not usable, so the policy read before stays in force: %w", err))
		h.log.Error("policy file is not usable; the policy read before stays in force",
			zap.String("file", h.path), zap.Error(err))
		return
	}
	h.notices.report("policy-file", nil)
	h.log.Info("policy in force", zap.String("file", h.path))
}
