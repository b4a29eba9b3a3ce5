package api

import (
	"errors"
	"time"

	"secretstore/api/audit"
	"secretstore/api/internal/admin"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

// faults finds what is wrong with a server although it answers.
type faults struct {
	audit   *auditor
	store   *seal.Store
	storage *monitor.Prober
	others  func() []string  // nil: none
	expiry  func() time.Time // of the certificate; nil: there is none
	host    func() *wire.HostReport
	version string
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

// report returns all faults, with their causes, and what else superusers may know
// about this server.
func (f *faults) report() (doc admin.Report) {
	add := func(kind, text string) { doc.Faults = append(doc.Faults, wire.Fault{Kind: kind, Text: text}) }
	doc.Version, doc.Storage = f.version, wire.StorageUp
	if f.expiry != nil {
		doc.CertificateExpires = f.expiry().UTC()
	}
	switch err := f.audit.fault(); {
	case errors.Is(err, audit.ErrReserve):
		add(wire.FaultDisk, err.Error())
	case err != nil:
		add(wire.FaultAudit, err.Error())
	}
	switch err := f.store.WriteFault(); {
	case errors.Is(err, store.ErrFull):
		doc.Storage = wire.StorageFull
		add(wire.FaultDisk, "the last write failed: "+err.Error())
	case err != nil:
		doc.Storage = wire.StorageReadOnly
		add(wire.FaultStorage, "the last write failed: "+err.Error())
	}
	if !f.storage.Up() {
		doc.Storage = wire.StorageUnreachable
		add(wire.FaultStorage, "the storage does not answer")
	}
	if f.others != nil {
		doc.Warnings = f.others()
	}
	if f.host != nil {
		doc.Host = f.host()
	}
	return doc
}
