package wire

// The events of GET /watch. EventPing is a comment, which clients skip.
const (
	EventChanged = "changed" // data: Event; created, or another value
	EventDeleted = "deleted" // data: Event
	// EventResync: changes may have been missed; read everything again.
	EventResync = "resync"
	// EventIncomplete: damaged records of the storage are skipped, which may be
	// those of secrets in this folder. Their changes are not reported until the
	// next EventResync.
	EventIncomplete = "incomplete"
	// EventEnd: the stream ends, for the reason in the data, an Error.
	EventEnd  = "end"
	EventPing = "ping"
)

// Event is the data of EventChanged and EventDeleted. It never holds a value.
type Event struct {
	Name    string `json:"name,omitempty"` // the whole path
	Version uint64 `json:"version,omitzero"`
	ETag    string `json:"etag,omitempty"` // as in the header of a read
}
