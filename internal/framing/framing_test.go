package framing

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	chunked = "Transfer-Encoding: chunked\r\n"
	five    = "Content-Length: 5\r\n"
	post    = "POST / HTTP/1.1\r\nHost: x\r\n"
	hello   = "\r\nhello"
	chunks  = "\r\n5\r\nhello\r\n0\r\n\r\n"
)

// TestBothNamesAreSeen, however they are written and whatever comes before.
func TestBothNamesAreSeen(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want []bool // for each request
	}{
		"one":                       {post + five + hello, []bool{false}},
		"the other":                 {post + chunked + chunks, []bool{false}},
		"both":                      {post + chunked + five + chunks, []bool{true}},
		"the other order":           {post + five + chunked + chunks, []bool{true}},
		"in any case":               {post + "tRANSFER-eNCODING:chunked\r\ncontent-LENGTH:5\r\n" + chunks, []bool{true}},
		"line feeds only":           {strings.ReplaceAll(post+five+chunked+chunks, "\r", ""), []bool{true}},
		"in HTTP/1.0":               {"POST / HTTP/1.0\r\n" + five + chunked + hello, []bool{true}},
		"behind another request":    {post + five + hello + post + chunked + five + chunks, []bool{false, true}},
		"in two requests":           {post + five + hello + post + chunked + chunks, []bool{false, false}},
		"no body":                   {"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post + five + chunked + chunks, []bool{false, true}},
		"empty lines between":       {post + five + hello + "\r\n\r\n" + post + five + chunked + chunks, []bool{false, true}},
		"in a body":                 {post + "Content-Length: 19\r\n\r\n" + five + post + chunked + chunks, []bool{false, false}},
		"a body like a head":        {post + "Content-Length: 49\r\n\r\n" + five + chunked + "\r\n" + post + chunked + five + chunks, []bool{false, true}},
		"in chunks":                 {post + chunked + "\r\n13\r\n" + five + "\r\n0\r\n\r\n", []bool{false}},
		"in a trailer":              {post + chunked + "\r\n0\r\n" + five + "\r\n", []bool{false}},
		"in a value":                {post + chunked + "A: Content-Length: 5\r\n" + chunks, []bool{false}},
		"a longer name":             {post + chunked + "Content-Length-Hint: 5\r\nA-Content-Length: 5\r\n" + chunks, []bool{false}},
		"in a line that is folded":  {post + chunked + "A: b\r\n c\r\n" + five + chunks, []bool{true}},
		"in a line that goes on":    {post + chunked + "A: b\r\n\tContent-Length: 5\r\n" + chunks, []bool{true}},
		"in a request line":         {"POST /Content-Length:5 HTTP/1.1\r\nHost: x\r\n" + chunked + chunks, []bool{false}},
		"behind a long line":        {post + "A: " + strings.Repeat("a", 9000) + "\r\n" + five + chunked + chunks, []bool{true}},
		"behind a line of 4096":     {post + "A: " + strings.Repeat("a", 4096-len(post)-4) + "\r\n" + five + chunked + chunks, []bool{true}},
		"behind a blank of a value": {post + "A:\r\n" + five + chunked + chunks, []bool{true}},
	} {
		for way, split := range splits {
			if got, _ := serve(split(strings.NewReader(row.text))); !slices.Equal(got, row.want) {
				t.Errorf("%s, %s: %v, want %v", name, way, got, row.want)
			}
		}
	}
}

// TestNothingIsLeftInTheBufferOfAnotherConnection: what net/http reads into was that
// of an earlier connection, and may hold the end of a secret.
func TestNothingIsLeftInTheBufferOfAnotherConnection(t *testing.T) {
	c := &conn{Conn: network{Reader: strings.NewReader(post + five + hello)}}
	buffer := bytes.Repeat([]byte("s"), bufferSize)
	for range 2 { // the head, and the body that is held
		n, err := c.Read(buffer)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		if rest := bytes.Trim(buffer[n:], "\x00"); len(rest) > 0 {
			t.Fatalf("behind %q: %q", buffer[:n], rest)
		}
		c.begin(5)
	}
}

// splits are ways in which bytes arrive.
var splits = map[string]func(io.Reader) io.Reader{
	"at once":        func(r io.Reader) io.Reader { return r },
	"byte by byte":   iotest.OneByteReader,
	"in halves":      iotest.HalfReader,
	"with the error": iotest.DataErrReader,
}

// network is a connection that reads from a reader.
type network struct {
	net.Conn
	io.Reader
}

func (n network) Read(p []byte) (int, error) { return n.Reader.Read(p) }

// serve reads requests as net/http does, and returns what begin said about each, and
// what was read of their bodies.
func serve(from io.Reader) (both []bool, bodies []byte) {
	c := &conn{Conn: network{Reader: from}}
	r := bufio.NewReader(c)
	for {
		if len(both) > 0 {
			peek, _ := r.Peek(4)
			_, _ = r.Discard(len(peek) - len(bytes.TrimLeft(peek, "\r\n")))
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return both, bodies
		}
		both = append(both, c.begin(req.ContentLength))
		body, err := io.ReadAll(req.Body)
		bodies = append(bodies, body...)
		if err != nil || len(req.TransferEncoding) > 0 {
			return both, bodies
		}
	}
}

// expect says the same as serve, from heads that are parsed a second time.
func expect(data []byte) (both, folded []bool, bodies []byte) {
	r := bufio.NewReaderSize(bytes.NewReader(data), len(data)+16)
	for {
		if len(both) > 0 {
			peek, _ := r.Peek(4)
			_, _ = r.Discard(len(peek) - len(bytes.TrimLeft(peek, "\r\n")))
		}
		rest, _ := r.Peek(r.Size())
		rest = bytes.Clone(rest)
		req, err := http.ReadRequest(r)
		if err != nil {
			return both, folded, bodies
		}
		head := textproto.NewReader(bufio.NewReader(bytes.NewReader(rest)))
		_, _ = head.ReadLine()
		fields, err := head.ReadMIMEHeader()
		if err != nil {
			panic(fmt.Sprintf("%q: %v", rest, err))
		}
		_, encoding := fields["Transfer-Encoding"]
		_, length := fields["Content-Length"]
		both = append(both, encoding && length)
		folded = append(folded, bytes.Contains(rest, []byte("\n ")) || bytes.Contains(rest, []byte("\n\t")))
		body, err := io.ReadAll(req.Body)
		bodies = append(bodies, body...)
		if err != nil || len(req.TransferEncoding) > 0 {
			return both, folded, bodies
		}
	}
}

// FuzzBothNames compares what is seen on the way to net/http with a second parser.
// Only lines that continue others may look like more.
func FuzzBothNames(f *testing.F) {
	for _, text := range []string{
		post + five + hello + post + chunked + five + chunks, "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post + five + chunked + chunks,
		post + chunked + "A: b\r\n\tContent-Length: 5\r\n" + chunks, post + five + hello + "\r\n\n" + post + five + chunked + chunks,
		strings.ReplaceAll(post+five+chunked+chunks, "\r", ""), post + "A\r: b\r\n\r\r\n" + five + hello,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", post + "Connection: upgrade\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, folded, bodies := expect(data)
		for way, split := range splits {
			got, read := serve(split(bytes.NewReader(data)))
			if len(got) != len(want) || !bytes.Equal(read, bodies) {
				t.Fatalf("%s: %v and %q, want %v and %q", way, got, read, want, bodies)
			}
			for i := range got {
				if got[i] != want[i] && !(got[i] && folded[i]) {
					t.Errorf("%s: request %d: %v, want %v", way, i, got[i], want[i])
				}
			}
		}
	})
}
