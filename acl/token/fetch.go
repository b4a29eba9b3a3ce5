package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"secretstore/internal/watchfile"
)

// fetchTimeout bounds one fetch of a key set, connecting included.
const fetchTimeout = 10 * time.Second

// ErrBadSource is wrapped by the errors of [NewJWKSSource].
var ErrBadSource = errors.New("a key set comes from an https URL, an http URL of this host (loopback), or a file")

// JWKSSource is where a key set comes from. Make it with [NewJWKSSource]; the
// zero value has nothing to fetch from and fails.
type JWKSSource struct {
	path   string // set for a file
	url    *url.URL
	client *http.Client
}

// NewJWKSSource parses a URL or the path of a file. An attacker who controls
// the key set can become any user. So plain http is accepted from loopback
// only, redirects are not followed, proxies are not used, and a URL with a
// password is refused (it would end up in logs). roots are the certification
// authorities for https; nil means those of the system. Errors wrap
// [ErrBadSource]. Nothing is fetched yet.
func NewJWKSSource(source string, roots *x509.CertPool) (*JWKSSource, error) {
	if !strings.Contains(source, "://") {
		if source == "" {
			return nil, fmt.Errorf("%w: it is empty", ErrBadSource)
		}
		return &JWKSSource{path: source}, nil
	}
	u, err := url.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrBadSource)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("%w: a URL with credentials is refused", ErrBadSource)
	case u.Host == "":
		return nil, fmt.Errorf("%w: the URL has no host", ErrBadSource)
	case u.Scheme == "http" && !isLoopbackName(u.Hostname()):
		return nil, fmt.Errorf("%w: http to another host is refused", ErrBadSource)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: scheme %q", ErrBadSource, u.Scheme)
	}
	return &JWKSSource{url: u, client: newClient(u.Scheme == "http", roots)}, nil
}

func newClient(loopbackOnly bool, roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: fetchTimeout}
	if loopbackOnly {
		// The name was checked before, but only the address says where a
		// connection goes.
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if ap, err := netip.ParseAddrPort(address); err != nil || !ap.Addr().IsLoopback() {
				return ErrBadSource
			}
			return nil
		}
	}
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           1,
			IdleConnTimeout:        time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func isLoopbackName(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// String names the source for logs, without the query of a URL.
func (s *JWKSSource) String() string {
	if s.url == nil {
		return s.path
	}
	return (&url.URL{Scheme: s.url.Scheme, Host: s.url.Host, Path: s.url.Path}).String()
}

// Fetch returns the set as it is at the source, at most [MaxJWKSBytes], after
// checking that [Verifier.SetJWKS] will take it.
func (s *JWKSSource) Fetch(ctx context.Context) ([]byte, error) {
	raw, err := s.read(ctx)
	if err == nil {
		_, err = parseJWKS(raw)
	}
	if err != nil && !errors.Is(err, ErrKeyLeftOut) {
		return nil, fmt.Errorf("key set from %s: %w", s, err)
	}
	return raw, nil
}

func (s *JWKSSource) read(ctx context.Context) ([]byte, error) {
	switch {
	case s.path != "":
		return watchfile.Read(s.path)
	case s.client == nil:
		return nil, ErrBadSource
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		// Without the URL that net/http wraps around it: the query may be
		// private.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, and redirects are not followed", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, MaxJWKSBytes+1)) // parseJWKS refuses a set that is too large
}

// close closes idle connections.
func (s *JWKSSource) close() {
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
}
