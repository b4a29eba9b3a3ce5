package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tmaxmax/go-sse"

	"secretstore/api/wire"
)

// maxSilence is how long the server may send nothing, in which it sends three
// heartbeats; then the connection counts as dead.
const maxSilence = 45 * time.Second

// Change is one event of Changes. It holds no value.
type Change struct {
	// Resync says that changes may have been missed: read everything again. The
	// other fields are empty.
	Resync bool
	// Incomplete says that damaged records of the storage are skipped, which may
	// be those of secrets in the folder: their changes are not reported until the
	// next Resync. The other fields are empty.
	Incomplete bool

	Path    string
	Deleted bool
	Version uint64 // of the new value; 0 if Deleted
	ETag    string // of the new value; "" if Deleted
}

// ChangesOptions say how changes are followed. The zero value follows those
// that the caller itself may list.
type ChangesOptions struct {
	// Service, if not nil, limits the changes to secrets that this service may
	// read, as in GetOptions.
	Service *string
	// Resume is for a caller that followed changes before and may have missed
	// some: the first Change then is a Resync.
	Resume bool
}

// Changes yields the changes of the secrets below a folder, "" for the root, as
// they happen, over one connection. The server ends a stream that is not read
// for 15 seconds. The sequence ends with an error: ErrDenied, ErrUnauthorized
// or ErrSealed if the server no longer permits it, ErrUnavailable if the server
// stops, that of the connection if it breaks, or that of ctx. A caller that
// follows changes for long calls it again, with Resume.
func (c *Client) Changes(ctx context.Context, folder string, o ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		h := http.Header{"Accept": {wire.TypeEvents}}
		if o.Service != nil {
			h.Set(wire.ServiceHeader, *o.Service)
		}
		if o.Resume {
			h.Set("Last-Event-ID", "0")
		}
		k := call{method: http.MethodGet, path: c.ofStore("/watch"), header: h, query: url.Values{wire.PrefixParam: {folder}}}
		res, err := atServers(ctx, c, k, c.send)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer res.Body.Close()
		dead := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
		dead.Stop()
		for event, err := range sse.Read(alive{res.Body, dead}, nil) {
			if err != nil {
				yield(Change{}, fmt.Errorf("follow changes: %w", errors.Join(context.Cause(ctx), err)))
				return
			}
			change, known, err := changeOf(event)
			if err == nil && !known {
				continue // of a newer release
			}
			if !yield(change, err) || err != nil {
				return
			}
		}
		yield(Change{}, fmt.Errorf("follow changes: %w", io.ErrUnexpectedEOF))
	}
}

var errSilent = errors.New("the server has sent nothing for too long")

// alive ends a connection whose reads wait for too long.
type alive struct {
	io.Reader
	dead *time.Timer
}

func (a alive) Read(p []byte) (int, error) {
	a.dead.Reset(maxSilence)
	defer a.dead.Stop()
	return a.Reader.Read(p)
}

func changeOf(e sse.Event) (c Change, known bool, err error) {
	switch e.Type {
	case wire.EventResync:
		return Change{Resync: true}, true, nil
	case wire.EventIncomplete:
		return Change{Incomplete: true}, true, nil
	case wire.EventChanged, wire.EventDeleted:
		var doc wire.Event
		if json.Unmarshal([]byte(e.Data), &doc) != nil {
			return Change{}, false, errNotJSON
		}
		return Change{Path: doc.Name, Deleted: e.Type == wire.EventDeleted, Version: doc.Version, ETag: doc.ETag}, true, nil
	case wire.EventEnd:
		var doc wire.Error
		if json.Unmarshal([]byte(e.Data), &doc) != nil {
			return Change{}, false, errNotJSON
		}
		if e := errorOf(doc); e != nil {
			return Change{}, false, e
		}
		return Change{}, false, errNotJSON
	}
	return Change{}, false, nil
}
