package api

import (
	"context"
	"encoding/json"

	"secretstore/api/internal/admin"
	"secretstore/api/wire"
)

// recent returns the last lines of the audit log of this server. The line of the
// request itself follows later.
func (a *auditor) recent(context.Context, admin.Caller) (wire.AuditLog, error) {
	out := wire.AuditLog{Lines: []json.RawMessage{}, Changes: a.changes}
	if a.log == nil {
		return out, nil
	}
	out.File = a.log.Path()
	for _, line := range a.log.Recent() {
		out.Lines = append(out.Lines, line)
	}
	return out, nil
}
