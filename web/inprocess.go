package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/framing"
)

// inProcess has the API answer requests without a connection. They come from the
// same client as the request that a page is made for.
type inProcess struct {
	api http.Handler
	of  *http.Request
}

// passedOn are the header fields that say where a request comes from.
var passedOn = []string{"X-Forwarded-For", "X-Forwarded-Proto", wire.TraceparentHeader}

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(req *http.Request) (res *http.Response, err error) {
	in := req.Clone(framing.Without(req.Context()))
	in.RequestURI = req.URL.RequestURI()
	in.URL.Scheme, in.URL.Host = "", ""
	in.Host, in.RemoteAddr, in.TLS = t.of.Host, t.of.RemoteAddr, t.of.TLS
	for _, name := range passedOn {
		if values := t.of.Header.Values(name); len(values) > 0 {
			in.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := &recorder{header: make(http.Header), status: http.StatusOK}
	defer func() {
		// That is how a handler says that its answer has no end.
		if v := recover(); v == http.ErrAbortHandler {
			clear(rec.body.Bytes())
			res, err = nil, errAborted
		} else if v != nil {
			panic(v)
		}
	}()
	t.api.ServeHTTP(rec, in)
	return &http.Response{
		Status: strconv.Itoa(rec.status) + " " + http.StatusText(rec.status), StatusCode: rec.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: rec.header, Request: req,
		ContentLength: int64(rec.body.Len()), Body: &clearedBody{Reader: bytes.NewReader(rec.body.Bytes()), content: rec.body.Bytes()},
	}, nil
}

var errAborted = errors.New("the answer could not be completed")

// recorder keeps an answer.
type recorder struct {
	header      http.Header
	status      int
	wroteHeader bool
	body        bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.wroteHeader {
		return
	}
	r.status, r.wroteHeader = status, true
	if n, err := strconv.Atoi(r.header.Get("Content-Length")); err == nil && n > 0 {
		r.body.Grow(n) // so that no copy of a value stays behind
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// clearedBody is overwritten when it is closed: it may hold a value or a token.
type clearedBody struct {
	io.Reader
	content []byte
}

// Close implements io.Closer.
func (b *clearedBody) Close() error {
	clear(b.content)
	return nil
}

// callAPI returns a client that calls the API for the client of r. Without a token
// only what is open to everybody answers.
func (s *Server) callAPI(r *http.Request, token string) (*client.Client, error) {
	return client.New(client.Config{
		Server: "http://secretstore", Transport: inProcess{s.api, r},
		Token: func(context.Context) (string, error) { return token, nil },
	})
}
