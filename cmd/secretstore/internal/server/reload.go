package server

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"secretstore/internal/watchfile"
)

// source is something that is made of files which belong together, such as a
// certificate and its key, and made again when one of them changes.
type source interface {
	// name is what the log calls it.
	name() string
	// files are its files.
	files() []optionFile
	// load reads the files, and puts their content in use if none has an error.
	// There is one error, which may be nil, for each file. in says what is in use
	// now.
	load() (in inUse, errs []error)
}

// optionFile is a file and the option that names it.
type optionFile struct{ option, path string }

// inUse describes for the log what is in use.
type inUse struct {
	id     string // the same only for the same content
	fields []zap.Field
}

// reloader loads a source again when one of its files changes. If they are broken,
// what was loaded before stays in use.
type reloader struct {
	source
	log     *zap.Logger
	notices *notices

	mu   sync.Mutex
	last string // the id of what is in use; guarded by mu
}

// newReloader loads a source for the first time, and returns the errors of its
// files.
func newReloader(s source, log *zap.Logger, n *notices) (*reloader, []error) {
	r := &reloader{source: s, log: log, notices: n}
	in, errs := s.load()
	r.last = in.id
	return r, errs
}

// watch follows the files until ctx is done.
func (r *reloader) watch(ctx context.Context) {
	var wg sync.WaitGroup
	for _, f := range r.files() {
		if f.path != "" {
			wg.Go(func() { watchfile.Poll(ctx, f.path, pollEvery, func([]byte, error) { r.changed() }) })
		}
	}
	wg.Wait()
}

// changed loads the source again. While somebody replaces several files, they do not
// match for a moment: what was loaded before is in use until they do.
func (r *reloader) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	in, errs := r.load()
	for i, f := range r.files() {
		if f.path != "" {
			r.notices.report(f.option, errs[i])
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.log.Warn("new files of the "+r.name()+" are not usable; what was loaded before stays in use", zap.Error(err))
		return
	}
	if in.id != r.last {
		r.last = in.id
		r.log.Info(r.name()+" in use", in.fields...)
	}
}
