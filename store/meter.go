package store

import "time"

// Call is a kind of call to a storage, as it is measured.
type Call string

// The kinds of call.
const (
	CallRead  Call = "read"
	CallList  Call = "list"
	CallWrite Call = "write"
)

// Calls are all kinds of call.
func Calls() []Call { return []Call{CallRead, CallList, CallWrite} }

// Meter is called after a call to the storage itself, with how long it took, the
// wait for a connection included, and how it ended. It is not called for what a
// backend answers from memory. It must not block.
type Meter func(call Call, took time.Duration, err error)
