package api

import (
	"errors"

	"secretstore/api/audit"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

// faults finds what is wrong with a server although it answers.
type faults struct {
	audit   *auditor
	store   *seal.Store
	storage *monitor.Prober
	others  func() []string // nil: none
}

// mild returns the faults with which reads can be answered, for anybody: they
// name no file and no cause.
func (f *faults) mild() (all []string) {
	if f.audit.fault() != nil {
		all = append(all, audit.ErrReserve.Error())
	}
	switch err := f.store.WriteFault(); {
	case errors.Is(err, store.ErrFull):
		all = append(all, problem.StorageFull)
	case err != nil:
		all = append(all, problem.StorageNoWrites)
	}
	return all
}

// warnings returns all faults, with their causes, for superusers.
func (f *faults) warnings() (all []string) {
	if err := f.audit.fault(); err != nil {
		all = append(all, err.Error())
	}
	if err := f.store.WriteFault(); err != nil {
		all = append(all, "the last write failed: "+err.Error())
	}
	if !f.storage.Up() {
		all = append(all, "the storage does not answer")
	}
	if f.others != nil {
		all = append(all, f.others()...)
	}
	return all
}
