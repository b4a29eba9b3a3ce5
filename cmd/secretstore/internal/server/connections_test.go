package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/cmd/secretstore/internal/fixture"
)

// TestIdleConnectionsKeepNobodyOut opens many more connections than the server
// takes, asks once on each and keeps them. Every one is served, over plain HTTP
// and TLS, and the first one is closed.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var certs *tls.Config
			if scheme == "https" {
				certFile, keyFile := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
				if err := fixture.Certificate(certFile, keyFile); err != nil {
					t.Fatal(err)
				}
				pair, err := tls.LoadX509KeyPair(certFile, keyFile)
				if err != nil {
					t.Fatal(err)
				}
				certs = &tls.Config{Certificates: []tls.Certificate{pair}}
			}
			e, err := bind(t.Context(), "127.0.0.1:0", scheme, certs)
			if err != nil {
				t.Fatal(err)
			}
			core, seen := observer.New(zap.WarnLevel)
			limit([]*endpoint{e}, 4, nil, func() {}, zap.New(core))
			e.prepare(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "live") }), 1, zap.NewNop())
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- serve(ctx, []*endpoint{e}, shutdownGrace) }()
			var conns []net.Conn
			for i := range 50 {
				var conn net.Conn
				if scheme == "https" {
					conn, err = tls.Dial("tcp", e.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
				} else {
					conn, err = net.Dial("tcp", e.listener.Addr().String())
				}
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
				fmt.Fprint(conn, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("connection %d: %v", i, err)
				}
				_ = answer.Body.Close()
			}
			if _, err := io.Copy(io.Discard, conns[0]); err != nil {
				t.Logf("the first connection ended with %v", err)
			}
			for _, c := range conns {
				_ = c.Close()
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := seen.Len(); n != 1 {
				t.Errorf("%d warnings, want 1", n)
			}
		})
	}
}

func TestRequestRates(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "100": 100, "-1": -1, "x": -1, "1.5": -1, "": -1, "9999999": -1} {
		_, err := build(t, Outside{}, "--request-rate", text, "--listen", "127.0.0.1:0", "--storage", "memory:")
		if (err != nil) != (want < 0) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
