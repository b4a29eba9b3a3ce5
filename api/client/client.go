// Package client calls the HTTP API of the Secret Store. The command line uses
// it, and the server is tested with it.
//
// Client makes single calls: it has one method for each call of the API, which is
// why the package is large. Store keeps a few secrets in memory, follows their
// changes, and keeps serving the last known values while the server is away: it is
// for long-running services. Retry repeats calls. Errors match the sentinels of
// this package with errors.Is, whichever call they come from.
//
// The client holds a token only for the length of a request, and puts neither
// tokens nor values into its errors.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// DefaultMaxAnswer is the largest answer that is read, in bytes: the JSON form
// of a secret of 64 MiB.
const DefaultMaxAnswer = 6*64<<20 + 1<<20

// maxError bounds the body of an error.
const maxError = 64 << 10

// maxRedirects bounds the redirects of a GET.
const maxRedirects = 3

// Config is what a Client is made of.
type Config struct {
	// Server is the address: http://127.0.0.1:1337, or https://… with any
	// path before /secrets/v1. Required, unless Servers names one.
	Server string
	// Servers are further servers of the same store. A call goes to the next
	// one after a connection error, or if a server is sealed or answers 503. A
	// call that changes something does so only if nothing was sent, or the
	// server says that nothing happened; so does a read with a task token that
	// has a limited number of uses. Otherwise it fails with ErrUnknown. Calls
	// about keys and about the state of a server go to the first one only.
	Servers []string
	// Store is the name of the store; "" is default.
	Store string
	// Token returns the token of a request; nil, or "", sends none.
	Token func(context.Context) (string, error)
	// TLS is used for https; nil is the system's roots.
	TLS *tls.Config
	// Fingerprints are SHA-256 sums of certificates in hex, with or without
	// colons. If there are any, a server is genuine if, and only if, its
	// certificate has one of them; its authority, names and dates do not matter,
	// as with a certificate that a server has signed for itself. Then all servers
	// must be https.
	Fingerprints []string
	// SingleUse gives each request its own connection. Without it, net/http
	// itself repeats a GET or HEAD whose reused connection breaks before an
	// answer. No byte of any other request is ever sent twice.
	SingleUse bool
	// Retries is how often a request is repeated after a Temporary error, with
	// the pauses of Retry; 0 repeats nothing. A GET, HEAD or Check is repeated
	// after each such error, any other request only if the store says that
	// nothing happened. A PUT with an unknown outcome is ErrUnknown at once: a
	// caller that repeats it may find its own secret as ErrExists. A Resolve
	// whose answer is lost fails at once too: it may have consumed the only use
	// of a task token, and a second one would be ErrUnauthorized.
	Retries int
	// Transport, if not nil, makes the requests in place of connections; TLS,
	// Fingerprints and SingleUse have no effect then.
	Transport http.RoundTripper
	// MaxAnswer is the largest answer in bytes; 0 is DefaultMaxAnswer.
	MaxAnswer int64
}

// Client calls one store, at one or several servers. It has many methods because
// it has one for each call of the API, and little else: what combines calls is in
// Store and Retry.
//
// Its methods may be called from many goroutines. They return *Error if the server
// refuses a request, and repeat nothing at the same server unless Config.Retries
// says so. After a change that failed with ErrUnknown, the caller has to find out
// whether it had an effect.
type Client struct {
	servers   []*url.URL   // without /secrets/v1
	current   atomic.Int32 // index of the server that answered last
	store     string
	token     func(context.Context) (string, error)
	maxAnswer int64
	retries   int
	http      *http.Client
	transport *http.Transport // nil if it is not of this package
}

// New returns a client, or an error for an invalid configuration. It does not
// connect yet.
func New(cfg Config) (*Client, error) {
	c := &Client{store: cfg.Store, token: cfg.Token, maxAnswer: cfg.MaxAnswer, retries: cfg.Retries}
	addresses := cfg.Servers
	if cfg.Server != "" || len(addresses) == 0 {
		addresses = append([]string{cfg.Server}, addresses...)
	}
	for _, address := range addresses {
		base, err := parseServer(address)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, base)
	}
	if c.store == "" {
		c.store = "default"
	}
	if c.maxAnswer <= 0 {
		c.maxAnswer = DefaultMaxAnswer
	}
	if cfg.Transport != nil {
		c.http = &http.Client{Transport: cfg.Transport, CheckRedirect: checkRedirect}
		return c, nil
	}
	secure := cfg.TLS.Clone()
	if len(cfg.Fingerprints) > 0 {
		var err error
		if secure, err = pin(secure, cfg.Fingerprints, c.servers); err != nil {
			return nil, err
		}
	}
	c.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       secure,
		DisableKeepAlives:     cfg.SingleUse,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if len(c.servers) > 1 {
		c.transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	c.http = &http.Client{Transport: c.transport, CheckRedirect: checkRedirect}
	return c, nil
}

// parseServer returns the address of a server without /secrets/v1.
func parseServer(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("the server's address must look like http://127.0.0.1:1337 or https://host:port, not %q", address)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the server's address must have no user, query or fragment")
	}
	base.Path = strings.TrimSuffix(strings.TrimRight(base.Path, "/"), wire.BasePath)
	base.RawPath = ""
	return base, nil
}

// Close closes the idle connections.
func (c *Client) Close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// checkRedirect follows a redirect of a GET on the same host, such as one from
// http to https. It follows none that would turn a write into a GET, send the
// token to another host, or send it in the clear.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet && first.Method != http.MethodHead,
		!strings.EqualFold(req.URL.Hostname(), first.URL.Hostname()),
		via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https",
		len(via) > maxRedirects:
		return http.ErrUseLastResponse
	}
	return nil
}

// call is one request to make.
type call struct {
	method string
	path   string // below /secrets/v1, escaped
	root   bool   // path is at the root of the server instead
	query  url.Values
	header http.Header
	body   []byte
	// reads says that it has no effect, though its method is POST.
	reads bool
	// resolves says that it only reads, but may be a use of a task token.
	resolves bool
	// one says that it is about one server: no other can answer it.
	one bool
	// limit bounds each attempt; if it is 0, only the context does.
	limit time.Duration
}

// answer is a success.
type answer struct {
	header http.Header
	body   []byte
}

// send makes the request at a server. Every status but 2xx is an *Error;
// otherwise the caller closes the body.
func (c *Client) send(ctx context.Context, server *url.URL, k call, a *attempt) (*http.Response, error) {
	var sent atomic.Bool
	req, err := c.request(trace(ctx, &sent), server, k, a)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	a.sent = sent.Load()
	if err != nil {
		a.lost = true
		return nil, fmt.Errorf("call the secret store: %w", err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, readError(res)
	}
	return res, nil
}

// once makes the request at a server, and reads the answer.
func (c *Client) once(ctx context.Context, server *url.URL, k call, a *attempt) (answer, error) {
	if k.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.limit)
		defer cancel()
	}
	res, err := c.send(ctx, server, k, a)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	// With room for all of it, no copies of a value are left when the buffer grows.
	var body bytes.Buffer
	body.Grow(int(min(max(res.ContentLength, 0), announced)) + bytes.MinRead)
	if _, err := body.ReadFrom(io.LimitReader(res.Body, c.maxAnswer+1)); err != nil {
		a.lost = true
		return answer{}, fmt.Errorf("read the answer of the secret store: %w", err)
	}
	if int64(body.Len()) > c.maxAnswer {
		return answer{}, fmt.Errorf("the answer of the secret store is larger than %d bytes", c.maxAnswer)
	}
	return answer{res.Header, body.Bytes()}, nil
}

// announced is the largest answer for which memory is allocated before it has arrived,
// in bytes.
const announced = 4 << 20

func (c *Client) request(ctx context.Context, server *url.URL, k call, a *attempt) (*http.Request, error) {
	escaped := k.path
	if !k.root {
		escaped = wire.BasePath + k.path
	}
	u := *server
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	u.Path, u.RawPath = server.Path+plain, server.EscapedPath()+escaped
	u.RawQuery = k.query.Encode()
	var body io.Reader
	if k.body != nil {
		body = bytes.NewReader(k.body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	// With GetBody, net/http could send the body again.
	req.GetBody = nil
	if k.header != nil {
		req.Header = k.header.Clone() // an earlier attempt may still be writing it
	}
	if c.token == nil {
		return req, nil
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "token="+token)
		a.counted = counted(token)
	}
	return req, nil
}

// doJSON sends in as JSON, if it is not nil, and decodes the answer into T.
func doJSON[T any](ctx context.Context, c *Client, k call, in any) (T, error) {
	var out T
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return out, fmt.Errorf("encode the request: %w", ErrNotText)
		}
		k.body = body
		k.header = http.Header{"Content-Type": {wire.TypeJSON}}
	}
	ans, err := c.do(ctx, k)
	if err != nil {
		return out, err
	}
	// The decoder's error is dropped: it may quote the answer.
	if json.Unmarshal(ans.body, &out) != nil {
		var zero T
		return zero, errNotJSON
	}
	return out, nil
}

var errNotJSON = errors.New("the answer of the secret store is not the JSON that was expected: is this its address?")

// ErrNotText is returned for text that is not valid UTF-8.
var ErrNotText = errors.New("the text is not valid UTF-8: store it as binary")

// escapePath escapes each component of a path and drops empty ones.
func escapePath(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			b.WriteByte('/')
			b.WriteString(url.PathEscape(part))
		}
	}
	return b.String()
}
