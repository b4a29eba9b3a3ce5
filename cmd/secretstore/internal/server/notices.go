package server

import (
	"maps"
	"slices"
	"sync"
)

// notices are problems that do not stop the server, one for each source: a broken
// policy file, an unreachable key set. Status shows them to superusers.
type notices struct {
	mu   sync.Mutex
	text map[string]string // by source; guarded by mu
}

// report sets the notice of a source, or clears it with a nil error.
func (n *notices) report(source string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.text, source)
		return
	}
	if n.text == nil {
		n.text = make(map[string]string)
	}
	n.text[source] = source + ": " + err.Error()
}

// list returns the notices in a fixed order.
func (n *notices) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Values(n.text))
}
