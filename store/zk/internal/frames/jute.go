package frames

import "golang.org/x/crypto/cryptobyte"

// The operations that the library can send, as ZooDefs.OpCode of ZooKeeper
// numbers them, and opError, which only occurs among a transaction's results.
const (
	opCreate          = 1
	opDelete          = 2
	opExists          = 3
	opGetData         = 4
	opSetData         = 5
	opGetACL          = 6
	opSetACL          = 7
	opSync            = 9
	opPing            = 11
	opGetChildren2    = 12
	opCheck           = 13
	opMulti           = 14
	opReconfig        = 16
	opCreateContainer = 19
	opCreateTTL       = 21
	opClose           = -11
	opAuth            = 100
	opSetWatches      = 101
	opError           = -1
)

// operations says how a reply without an error goes on after its header. The
// records are those of zookeeper.jute.
var operations = map[int32]struct {
	name  string
	reply func(*reader, request) bool
}{
	opCreate:          {"create", func(r *reader, _ request) bool { return r.string() }},
	opCreateContainer: {"createContainer", create2Response},
	opCreateTTL:       {"createTTL", create2Response},
	opDelete:          {"delete", nothing},
	opExists:          {"exists", statOnly},
	opGetData:         {"getData", getDataResponse},
	opSetData:         {"setData", statOnly},
	opGetACL:          {"getACL", func(r *reader, _ request) bool { return r.vector(r.acl) && r.stat() }},
	opSetACL:          {"setACL", statOnly},
	opGetChildren2:    {"getChildren2", func(r *reader, _ request) bool { return r.vector(r.string) && r.stat() }},
	opSync:            {"sync", func(r *reader, _ request) bool { return r.string() }},
	opMulti:           {"multi", multiResponse},
	opReconfig:        {"reconfig", getDataResponse},
	opClose:           {"closeSession", nothing},
	opAuth:            {"auth", nothing},
	opSetWatches:      {"setWatches", nothing},
}

func nothing(*reader, request) bool             { return true }
func statOnly(r *reader, _ request) bool        { return r.stat() }
func getDataResponse(r *reader, _ request) bool { return r.buffer() && r.stat() }

// create2Response is a path and a Stat. The library decodes the path alone.
func create2Response(r *reader, _ request) bool {
	return r.string() && (r.Empty() || r.stat())
}

// multiResponse is a MultiHeader before each result and one at the end. The
// library decodes a result of nine bytes into some two hundred, so there may
// not be more results than the request, by its size, can have had operations.
func multiResponse(r *reader, req request) bool {
	for left := (req.size - requestHeader - multiHeader) / minOperation; ; left-- {
		var op, code int32
		var done bool
		switch {
		case !r.int(&op) || !r.bool(&done) || !r.int(&code):
			return false
		case done:
			return true
		case left <= 0:
			return false
		}
		ok := false
		switch op {
		case opError: // ErrorResponse
			ok = r.int(&code)
		case opCreate:
			ok = r.string()
		case opSetData:
			ok = r.stat()
		case opDelete, opCheck:
			ok = true
		}
		if !ok {
			return false
		}
	}
}

// Sizes of records in bytes.
const (
	requestHeader = 8
	multiHeader   = 9
	stat          = 68
	minOperation  = multiHeader + 4 + 4 // delete and check have a path and a version
)

// reader reads the encoding of jute: big-endian numbers, strings and buffers
// after their lengths, vectors after their counts. Its methods report whether
// the record was there in full.
type reader struct{ cryptobyte.String }

func (r *reader) int(v *int32) bool {
	var u uint32
	ok := r.ReadUint32(&u)
	*v = int32(u)
	return ok
}

func (r *reader) bool(v *bool) bool {
	var u uint8
	ok := r.ReadUint8(&u) && u <= 1
	*v = u == 1
	return ok
}

// string refuses the length -1 of no string, which the library does not know.
func (r *reader) string() bool {
	var n int32
	return r.int(&n) && r.skip(n)
}

// buffer knows the length -1 of no buffer.
func (r *reader) buffer() bool {
	var n int32
	return r.int(&n) && (n == -1 || r.skip(n))
}

func (r *reader) skip(n int32) bool {
	return n == 0 || r.Skip(int(n)) // which refuses less than 0 and more than there is
}

// vector refuses the count -1 of no vector, which the library does not know.
// The library allocates all elements before it decodes the first; here a count
// of more than there are fails at the end of the frame.
func (r *reader) vector(element func() bool) bool {
	var n int32
	if !r.int(&n) || n < 0 {
		return false
	}
	for range n {
		if !element() {
			return false
		}
	}
	return true
}

// acl is perms and an Id, which is scheme and id.
func (r *reader) acl() bool { return r.Skip(4) && r.string() && r.string() }

func (r *reader) stat() bool { return r.Skip(stat) }

// replyHeader is xid, zxid and err.
func (r *reader) replyHeader(xid, code *int32) bool {
	return r.int(xid) && r.Skip(8) && r.int(code)
}

// watcherEvent is type, state and path.
func (r *reader) watcherEvent() bool { return r.Skip(4+4) && r.string() }

// connectResponse is protocolVersion, timeOut, sessionId, passwd and, since
// ZooKeeper 3.4, readOnly, which the library does not read. The library pings
// at a fraction of timeOut, and panics unless that is above 0. A sessionId of 0
// says that there is no such session; it then stops before.
func (r *reader) connectResponse() bool {
	var timeOut int32
	var session uint64
	ok := r.Skip(4) && r.int(&timeOut) && r.ReadUint64(&session) && r.buffer()
	var readOnly bool
	return ok && (timeOut > 0 || session == 0) && (r.Empty() || r.bool(&readOnly))
}
