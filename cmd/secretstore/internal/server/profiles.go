package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/connections"
)

const (
	// longestProfile bounds how long one profile takes.
	longestProfile = 5 * time.Minute
	// profileConnections bounds what other users of this machine can hold open.
	profileConnections = 8
)

// profiles serves the profiles of the process on an address of the loopback. They
// have no values, but anybody on this machine may ask for them, without a token, and
// they show what the server does and when. So they have their own port, which
// is off unless an operator asks for it.
type profiles struct {
	listener net.Listener
	log      *zap.Logger
}

// listenProfiles listens if the configuration says so, and returns nil otherwise.
func listenProfiles(ctx context.Context, addr string, log *zap.Logger) (*profiles, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	log.Warn("profiles are served to every user of this machine, without a token", zap.String("url", "http://"+l.Addr().String()+"/debug/pprof/"))
	return &profiles{connections.New(profileConnections, nil, func() {}).Listen(l), log}, nil
}

// serve serves until ctx ends. A profile that is being taken is cut off.
func (p *profiles) serve(ctx context.Context) error {
	server := &http.Server{
		Handler: connections.Handler(profileHandler()), ConnContext: connections.Context,
		ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
	}
	if std, err := zap.NewStdLogAt(p.log.Named("pprof"), zap.WarnLevel); err == nil {
		server.ErrorLog = std
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}

// profileHandler serves what cannot contain a value. The stacks of debug=2 show the
// arguments of functions, which may be a part of a key; cmdline shows arguments of
// the program, and symbol is not needed.
//
// The Host of a request must be this machine: otherwise a page in a browser here could
// read profiles, under a name that it has made to mean 127.0.0.1. Nor may the page of
// another site have a profile taken that it cannot read.
func profileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !config.IsLoopback(strings.Trim(host, "[]")) {
			http.Error(w, "ask for 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
			http.Error(w, "pages of other sites get no profiles", http.StatusForbidden)
			return
		}
		if debug := r.FormValue("debug"); debug != "" && debug != "0" && debug != "1" {
			http.Error(w, "debug must be 0 or 1: stacks with arguments are not shown", http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), longestProfile)
		defer cancel()
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}
