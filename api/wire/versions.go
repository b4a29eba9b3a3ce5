package wire

import "time"

// Versions is the answer to ?versions=true.
type Versions struct {
	Versions []Version `json:"versions"` // newest first; never empty
	// Deleted is when the secret was deleted, in UTC to the second; it can be
	// undeleted for 30 days. Null if it is not deleted.
	Deleted *time.Time `json:"deleted"`
	// Description and Labels are those of the secret, also of a binary one. Servers of
	// older releases do not send them.
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	// Author created the secret, as in Secret. Servers of older releases do not send
	// it.
	Author string `json:"author,omitempty"`
}

// Version describes one version of a secret, without its value.
type Version struct {
	Version uint64 `json:"version"` // counts the writes since the create, from 1
	ETag    string `json:"etag"`    // with its quotes, as in the header of that name
	// Written is in UTC, to the second; null for values of an older release,
	// which did not keep it.
	Written *time.Time `json:"written"`
	Kind    string     `json:"kind"`    // "text" or "binary"
	Bytes   uint64     `json:"bytes"`   // of the value
	Current bool       `json:"current"` // a GET returns it
}
