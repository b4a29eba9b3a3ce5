package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// serveHello answers every request with the bytes of a secret, headers
// included, and does nothing else. It measures what net/http itself costs. With
// certs it serves HTTPS.
func serveHello(ctx context.Context, addr string, size int, certs *certificate) error {
	body := []byte(`{"value":"` + strings.Repeat("v", size) + `","author":"bench","created":"2026-01-01T00:00:00Z"}`)
	noStore, noSniff, json := []string{"no-store"}, []string{"nosniff"}, []string{"application/json"}
	length, etag, id := []string{fmt.Sprint(len(body))}, []string{`"5c97bb22c558b10283175938e7429d8a"`}, []string{"b8a3b24ea4b8-2abc"}
	server := &http.Server{Addr: addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"], h["Content-Type"], h["Content-Length"] = noStore, json, length
		h["Etag"], h["X-Content-Type-Options"], h["X-Request-Id"] = etag, noSniff, id
		w.Write(body)
	})}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	var err error
	if certs != nil {
		err = server.ListenAndServeTLS(certs.certFile, certs.keyFile)
	} else {
		err = server.ListenAndServe()
	}
	if err != http.ErrServerClosed {
		return err
	}
	return nil
}

// startHello runs the reference as its own process, as the server is one.
func startHello(ctx context.Context, size int, certs *certificate) (url string, stop func(), err error) {
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	args := []string{"-hello", addr, "-size", fmt.Sprint(size)}
	url = "http://" + addr
	if certs != nil {
		args = append(args, "-hello-cert", certs.certFile, "-hello-key", certs.keyFile)
		url = "https://" + addr
	}
	p, err := startProcess(exec.CommandContext(ctx, self, args...))
	if err != nil {
		return "", nil, err
	}
	return url, p.stop, waitServing(ctx, addr)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitServing waits until something accepts connections.
func waitServing(ctx context.Context, addr string) error {
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("nothing listens on %s", addr)
}

// waitFor waits until url answers 200.
func waitFor(ctx context.Context, url string) error {
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer", url)
}
