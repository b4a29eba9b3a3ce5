package watch

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// eventTime is how long the client may take to read an event.
const eventTime = 15 * time.Second

// Events writes server-sent events to W. An error means that the client does
// not read them.
type Events struct {
	W    http.ResponseWriter
	last uint64 // id of the last event
}

// Begin sends the head of the answer. A client that comes back may have missed
// changes.
func (o *Events) Begin(h http.Header) error {
	if len(h["Last-Event-Id"]) > 0 {
		return o.Send(wire.EventResync, wire.Event{})
	}
	return o.write(": open\n\n")
}

// Send writes one event. JSON holds no line break.
func (o *Events) Send(kind string, doc any) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	o.last++
	return o.write("id: " + strconv.FormatUint(o.last, 10) + "\nevent: " + kind + "\ndata: " + string(data) + "\n\n")
}

// Ping shows that the stream is alive.
func (o *Events) Ping() error { return o.write(": " + wire.EventPing + "\n\n") }

func (o *Events) write(text string) error {
	ctl := http.NewResponseController(o.W)
	_ = ctl.SetWriteDeadline(time.Now().Add(eventTime)) // a writer without deadlines cannot hang for ever either
	if _, err := o.W.Write([]byte(text)); err != nil {
		return err
	}
	return ctl.Flush()
}
