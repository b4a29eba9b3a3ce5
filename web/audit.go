package web

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// auditPage is the data of the page about the audit log.
type auditPage struct {
	File   string
	Filter string
	// Changes: lines about reads are left out.
	Changes bool
	All     int
	Lines   []auditLine
}

// auditLine is what the page shows of a line of the audit log.
type auditLine struct {
	Time     time.Time `json:"time"`
	UID      string    `json:"uid"`
	Service  string    `json:"service"`
	Action   string    `json:"action"`
	Resource string    `json:"resource"`
	Object   string    `json:"object"`
	Endpoint string    `json:"endpoint"`
	Outcome  string    `json:"outcome"`
	Status   int       `json:"status"`
	Reason   string    `json:"reason"`
	Remote   string    `json:"remote"`
}

func showAudit(v *visit) error {
	log, err := v.api.Audit(v.ctx())
	if err != nil {
		return err
	}
	p := auditPage{File: log.File, Filter: v.query("filter"), Changes: v.query("changes") != "", All: len(log.Lines)}
	filter := strings.ToLower(p.Filter)
	for _, raw := range log.Lines {
		var line auditLine
		if !strings.Contains(strings.ToLower(string(raw)), filter) {
			continue
		}
		if err := json.Unmarshal(raw, &line); err != nil {
			return err
		}
		if p.Changes && !slices.Contains(log.Changes, line.Endpoint) {
			continue
		}
		p.Lines = append(p.Lines, line)
	}
	return v.show("audit", p)
}
