package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/systemd"
	"secretstore/internal/watchfile"
)

// pollEvery is how often watched files are read: a change takes effect within
// seconds.
const pollEvery = 2 * time.Second

// policyHolder holds the current policy. If the file breaks while the server runs, the
// policy stays and a notice says so: a typing error must not lock everybody out, nor
// let anybody in.
type policyHolder struct {
	path       string // "" for no file
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

// Policy returns the current policy. It is not nil if newPolicyHolder returned no
// error.
func (h *policyHolder) Policy() *acl.Policy { return h.current.Load() }

// take replaces the policy if content is valid.
func (h *policyHolder) take(content []byte) error {
	p, err := acl.ParsePolicy(content)
	if err != nil {
		return err
	}
	h.current.Store(p.WithSuperusers(h.superusers...))
	return nil
}

// watch follows the file until ctx ends. On each value from hangup it reads the file
// at once, and tells systemd.
func (h *policyHolder) watch(ctx context.Context, hangup <-chan os.Signal, n *systemd.Notifier) {
	if h.path == "" {
		return
	}
	changed := h.changed
	for ctx.Err() == nil {
		// A hangup restarts the polling, which begins by reading the file.
		round, cancel := context.WithCancel(ctx)
		var polling sync.WaitGroup
		report := changed // of this round: changed may be replaced before it begins
		polling.Go(func() { watchfile.Poll(round, h.path, pollEvery, report) })
		select {
		case <-ctx.Done():
		case <-hangup:
			n.Reloading()
			changed = func(content []byte, err error) {
				h.changed(content, err)
				n.Ready() // after later changes, too, which does no harm
			}
		}
		cancel()
		polling.Wait()
	}
}

// changed is called with each new state of the file, one call at a time.
func (h *policyHolder) changed(content []byte, err error) {
	if err == nil {
		err = h.take(content)
	}
	if err != nil {
		h.notices.report("policy-file", fmt.Errorf("the file is not usable; the policy read before stays in effect: %w", err))
		h.log.Error("policy file is not usable; the policy read before stays in effect",
			zap.String("file", h.path), zap.Error(err))
		return
	}
	h.notices.report("policy-file", nil)
	h.log.Info("policy in effect", zap.String("file", h.path))
}
