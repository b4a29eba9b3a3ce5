// Package superuser finds out whether a ZooKeeper server accepts a password as
// that of its superuser, whom no ACL restricts.
//
// Digest authentication succeeds with any password: it only adds an identity to
// the connection. So the server is asked who it takes the client for (whoAmI,
// since ZooKeeper 3.7), and, for older ones, whether a znode that could not be
// read before can be read now. Neither changes anything. The client library
// knows no whoAmI, so the few requests are written here; the replies are read
// as those of an attacker, and nothing of them is kept.
package superuser

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Verdict says whether the password is accepted.
type Verdict int

// The zero Verdict is Unknown.
const (
	Unknown  Verdict = iota // the server does not say who its client is, and everybody may read the znode
	Accepted                // it makes its client superuser
	Refused
)

const (
	opGetData = 4
	opAuth    = 100
	opWhoAmI  = 107
	opClose   = -11

	xidBefore = 1
	xidAfter  = 2
	xidWho    = 3
	xidClose  = 4
	xidAuth   = -4

	errNoAuth     = -102
	errAuthFailed = -115

	// maxReply bounds a reply: ZooKeeper itself sends a little over 1 MiB.
	maxReply = 2 << 20
	// sessionTime is how long the server keeps the session if the connection
	// is cut.
	sessionTime = 5 * time.Second
)

var (
	errReply = errors.New("malformed reply")
	errOrder = errors.New("a reply to something else")
)

// Try authenticates on conn, which was just opened and which it closes, and returns
// what came of it. znode is one that not everybody should be able to read. With a
// TLS configuration it makes the handshake first.
func Try(ctx context.Context, conn net.Conn, secure *tls.Config, znode, user, password string) (Verdict, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	s, err := ask(conn, znode, user, password)
	if ctx.Err() != nil {
		return Unknown, ctx.Err()
	}
	if err != nil {
		return Unknown, err
	}
	return s.verdict(), nil
}

// answers are what the server has said.
type answers struct {
	before, after int32 // errors of reading the znode
	auth          int32 // error of the authentication
	identities    []string
	identified    bool // the server knows whoAmI
}

func (a answers) verdict() Verdict {
	switch {
	case a.auth == errAuthFailed:
		return Refused
	case a.identified:
		for _, scheme := range a.identities {
			if scheme == "super" {
				return Accepted
			}
		}
		return Refused
	case a.before != errNoAuth:
		return Unknown
	case a.after == errNoAuth:
		return Refused
	case a.after == 0:
		return Accepted
	}
	return Unknown
}

func ask(conn io.ReadWriter, znode, user, password string) (a answers, err error) {
	if err := connect(conn); err != nil {
		return a, fmt.Errorf("connect: %w", err)
	}
	if a.before, _, err = call(conn, xidBefore, opGetData, getData(znode)); err != nil {
		return a, fmt.Errorf("read a znode: %w", err)
	}
	if a.auth, _, err = call(conn, xidAuth, opAuth, digest(user, password)); err != nil || a.auth != 0 {
		return a, err
	}
	if a.after, _, err = call(conn, xidAfter, opGetData, getData(znode)); err != nil {
		return a, fmt.Errorf("read a znode: %w", err)
	}
	// A server that does not know the operation closes the connection.
	code, rest, err := call(conn, xidWho, opWhoAmI, nothing)
	if errors.Is(err, errReply) || errors.Is(err, errOrder) {
		return a, err
	}
	if err == nil && code == 0 {
		if a.identities, err = schemes(rest); err != nil {
			return a, err
		}
		a.identified = true
		_, _, _ = call(conn, xidClose, opClose, nothing) // politeness
	}
	return a, nil
}

func nothing(*cryptobyte.Builder) {}

// getData asks for a znode, without a watch.
func getData(znode string) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) {
		text(b, znode)
		b.AddUint8(0)
	}
}

func digest(user, password string) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) {
		b.AddUint32(0)
		text(b, "digest")
		text(b, user+":"+password)
	}
}

func text(b *cryptobyte.Builder, s string) {
	b.AddUint32(uint32(len(s)))
	b.AddBytes([]byte(s))
}

// connect asks for a new session.
func connect(conn io.ReadWriter) error {
	var b cryptobyte.Builder
	b.AddUint32(0) // version of the protocol
	b.AddUint64(0) // last transaction seen
	b.AddUint32(uint32(sessionTime.Milliseconds()))
	b.AddUint64(0) // no session yet
	b.AddUint32(16)
	b.AddBytes(make([]byte, 16)) // nor its password
	b.AddUint8(0)                // not read-only
	if err := send(conn, &b); err != nil {
		return err
	}
	r, err := receive(conn)
	if err != nil {
		return err
	}
	var session uint64
	if !r.Skip(8) || !r.ReadUint64(&session) {
		return errReply
	}
	if session == 0 {
		return errors.New("no session")
	}
	return nil
}

// call sends a request and returns the error code of its reply and what follows.
func call(conn io.ReadWriter, xid, op int32, body cryptobyte.BuilderContinuation) (code int32, rest cryptobyte.String, err error) {
	var b cryptobyte.Builder
	b.AddUint32(uint32(xid))
	b.AddUint32(uint32(op))
	body(&b)
	if err := send(conn, &b); err != nil {
		return 0, nil, err
	}
	r, err := receive(conn)
	if err != nil {
		return 0, nil, err
	}
	var gotXID, gotCode uint32
	if !r.ReadUint32(&gotXID) || !r.Skip(8) || !r.ReadUint32(&gotCode) {
		return 0, nil, errReply
	}
	if int32(gotXID) != xid {
		return 0, nil, errOrder
	}
	return int32(gotCode), r, nil
}

func send(conn io.Writer, b *cryptobyte.Builder) error {
	content, err := b.Bytes()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), content...))
	return err
}

func receive(conn io.Reader) (cryptobyte.String, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxReply {
		return nil, errReply
	}
	content := make([]byte, n)
	_, err := io.ReadFull(conn, content)
	return content, err
}

// schemes returns the schemes of the identities in a reply to whoAmI: a vector of
// scheme and name.
func schemes(r cryptobyte.String) (all []string, err error) {
	var n uint32
	if !r.ReadUint32(&n) {
		return nil, errReply
	}
	for range n { // each takes at least eight bytes of the reply
		var scheme, name []byte
		if !word(&r, &scheme) || !word(&r, &name) {
			return nil, errReply
		}
		all = append(all, string(scheme))
	}
	if !r.Empty() {
		return nil, errReply
	}
	return all, nil
}

func word(r *cryptobyte.String, out *[]byte) bool {
	var n uint32
	return r.ReadUint32(&n) && n <= maxReply && r.ReadBytes(out, int(n))
}
