package superuser

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name string
		said answers
		want Verdict
	}{
		{"nothing was said", answers{}, Unknown},
		{"the authentication failed", answers{auth: errAuthFailed, before: errNoAuth}, Refused},
		{"it is the superuser", answers{identified: true, identities: []string{"ip", "super", "digest"}}, Accepted},
		{"it is somebody", answers{identified: true, identities: []string{"ip", "digest"}, before: errNoAuth, after: 0}, Refused},
		{"an old server opens the znode", answers{before: errNoAuth}, Accepted},
		{"an old server does not", answers{before: errNoAuth, after: errNoAuth}, Refused},
		{"an old server, and everybody may read", answers{}, Unknown},
		{"an old server, and the znode is not there", answers{before: -101, after: -101}, Unknown},
		{"an old server, and the znode has gone", answers{before: errNoAuth, after: -101}, Unknown},
	} {
		if got := tt.said.verdict(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// frame is a reply: header and content.
func frame(xid, code int32, content ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(content)))
	b = binary.BigEndian.AppendUint32(b, uint32(xid))
	b = binary.BigEndian.AppendUint64(b, 7)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, content...)
}

var connected = append(binary.BigEndian.AppendUint32(nil, 16), 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 9)

// scripted is a server that says always the same.
type scripted struct {
	io.Reader
	sent bytes.Buffer
}

func (s *scripted) Write(p []byte) (int, error) { return s.sent.Write(p) }

// TestServerWithoutWhoAmIIsJudgedByWhatItOpens: such a server answers with an error
// and closes the connection, or only closes it.
func TestServerWithoutWhoAmIIsJudgedByWhatItOpens(t *testing.T) {
	for name, end := range map[string][]byte{"unimplemented": frame(xidWho, -6), "closed": nil} {
		s := &scripted{Reader: bytes.NewReader(bytes.Join([][]byte{connected,
			frame(xidBefore, errNoAuth), frame(xidAuth, 0), frame(xidAfter, 0), end}, nil))}
		a, err := ask(s, "/znode", "user", "password")
		if err != nil || a.verdict() != Accepted {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestRepliesThatAreRefused(t *testing.T) {
	who := func(content ...byte) []byte {
		return bytes.Join([][]byte{connected, frame(xidBefore, 0), frame(xidAuth, 0), frame(xidAfter, 0), frame(xidWho, 0, content...)}, nil)
	}
	for name, said := range map[string][]byte{
		"nothing":                 nil,
		"half a length":           {0, 0},
		"a large frame":           {0xff, 0xff, 0xff, 0xff},
		"no session":              append(binary.BigEndian.AppendUint32(nil, 16), make([]byte, 16)...),
		"a short reply":           append(bytes.Clone(connected), 0, 0, 0, 2, 1, 1),
		"the reply to another":    append(bytes.Clone(connected), frame(xidAfter, 0)...),
		"two billion identities":  who(0x7f, 0xff, 0xff, 0xff),
		"a name that is too long": who(0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff),
		"more after the last":     who(0, 0, 0, 0, 1),
	} {
		if a, err := ask(&scripted{Reader: bytes.NewReader(said)}, "/", "user", "password"); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestCanceledTryEnds(t *testing.T) {
	here, there := net.Pipe() // nobody reads
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := Try(ctx, here, nil, "/", "user", "password"); v != Unknown || err == nil {
		t.Errorf("%v, %v", v, err)
	}
}

func FuzzAsk(f *testing.F) {
	f.Add(connected)
	f.Add(bytes.Join([][]byte{connected, frame(xidBefore, 0), frame(xidAuth, 0), frame(xidAfter, 0),
		frame(xidWho, 0, 0, 0, 0, 1, 0, 0, 0, 5, 's', 'u', 'p', 'e', 'r', 0, 0, 0, 0)}, nil))
	f.Fuzz(func(t *testing.T, said []byte) {
		a, err := ask(&scripted{Reader: bytes.NewReader(said)}, "/znode", "user", "password")
		if err != nil && a.verdict() == Accepted && !a.identified && a.before != errNoAuth {
			t.Errorf("accepted without a reason: %+v", a)
		}
	})
}

func TestIdentitiesOfAReply(t *testing.T) {
	var b cryptobyte.Builder
	b.AddUint32(2)
	for _, s := range []string{"ip", "127.0.0.1", "digest", "somebody"} {
		text(&b, s)
	}
	all, err := schemes(cryptobyte.String(b.BytesOrPanic()))
	if err != nil || len(all) != 2 || all[0] != "ip" || all[1] != "digest" {
		t.Errorf("%q, %v", all, err)
	}
}
