package wire

import "time"

// WholeSecret is the body of PUT /history: a secret of another store, with its
// earlier versions. Empty members are left out.
type WholeSecret struct {
	Versions    []WholeVersion `json:"versions"` // newest first; never empty
	Description string         `json:"description,omitempty"`
	Labels      []string       `json:"labels,omitempty"`
	Author      string         `json:"author,omitempty"`
	Created     time.Time      `json:"created"`
	// Deleted is when the secret was deleted; absent if it is not deleted.
	Deleted time.Time `json:"deleted,omitzero"`
}

// WholeVersion is one version of a WholeSecret.
type WholeVersion struct {
	Version uint64    `json:"version"`
	Kind    string    `json:"kind"` // "text" or "binary"
	Value   []byte    `json:"value_base64"`
	Written time.Time `json:"written,omitzero"` // absent if it is not known
}
