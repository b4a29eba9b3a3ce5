package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"secretstore/cmd/secretstore/internal/config"
)

// checkSockets compares the sockets that systemd has opened with the options. A
// socket is served only where an option says so: the unit of a socket alone does
// not make the server listen beyond loopback.
func checkSockets(sockets map[string]net.Listener, cfg config.Config) []config.Problem {
	var out []config.Problem
	for _, name := range slices.Sorted(maps.Keys(sockets)) {
		at := sockets[name].Addr().String()
		option, configured := "listen", cfg.Listen
		switch name {
		case "http":
		case "https":
			option, configured = "tls-listen", cfg.TLSListen
		default:
			out = append(out, config.Problem{Where: "systemd", What: fmt.Sprintf("it passes a socket named %q; write FileDescriptorName=http or https into its unit", name)})
			continue
		}
		if !sameAddress(at, configured) {
			out = append(out, config.Problem{Where: "--" + option, What: fmt.Sprintf("is %q, but the socket that systemd passes listens on %s; make both the same", configured, at)})
		}
	}
	return out
}

// sameAddress reports whether a socket listens where an option says. A name in the
// option is any address. All addresses are one, in IPv4 and IPv6.
func sameAddress(socket, option string) bool {
	at, err := netip.ParseAddrPort(socket)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(option)
	if err != nil || port != fmt.Sprint(at.Port()) {
		return false
	}
	if host == "" {
		return at.Addr().IsUnspecified()
	}
	if config.IsLoopback(host) || at.Addr().Unmap().IsLoopback() {
		return config.IsLoopback(host) && at.Addr().Unmap().IsLoopback()
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || addr.Unmap() == at.Addr().Unmap() || addr.IsUnspecified() && at.Addr().IsUnspecified()
}

// tellSystemd says how the server is doing until ctx ends.
func (s *Server) tellSystemd(ctx context.Context, endpoints []*endpoint) {
	s.systemd.Ready()
	s.systemd.Watchdog(ctx, func(ctx context.Context) error {
		var errs []error
		for _, e := range endpoints {
			errs = append(errs, e.probe(ctx))
		}
		return errors.Join(errs...)
	})
	<-ctx.Done()
	s.systemd.Stopping()
}

// probe asks the server whether it is ready, as a client does. Any answer will do:
// a server that is sealed, or has no storage, or redirects, works. A restart
// would help none of these, and would seal one that is unsealed.
func (e *endpoint) probe(ctx context.Context) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		// This process answers there, and the request holds no secret.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url()+"/ready", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", e.url(), err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close())
}
