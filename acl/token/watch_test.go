package token_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl/token"
)

// eventually waits for a condition; the bound is generous, what is tested is
// that it comes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// reports collects what a watch says.
type reports struct {
	mu   sync.Mutex
	errs []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]error{}, r.errs...)
}

// run runs f until the test ends, and waits for it.
func run(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func accepted(v *token.Verifier, raw string) bool {
	_, err := v.Verify(raw)
	return err == nil
}

// writeFile writes a file in one step: who follows it never finds it empty.
func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchHMACFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	old, changed := hs256(t, object{"uid": "a"}), mustSign(t, otherKey)
	writeFile(t, path, append(hmacKey, "\nsecond line"...))
	v := newVerifier(t, token.Config{})
	var r reports
	run(t, func(ctx context.Context) {
		v.WatchHMACFile(ctx, path, token.Watch{Every: 5 * time.Millisecond, Report: r.add})
	})
	eventually(t, "the first key", func() bool { return accepted(v, old) && len(r.all()) > 0 })

	// A broken file keeps the old key and says so, without repeating what is in
	// it.
	writeFile(t, path, hmacKey[:31])
	eventually(t, "a report of the short key", func() bool { e := r.all(); return errors.Is(e[len(e)-1], token.ErrShortKey) })
	if err := r.all()[1]; strings.Contains(err.Error(), string(hmacKey[:31])) || !strings.Contains(err.Error(), path) {
		t.Errorf("report: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a report of the missing file", func() bool { e := r.all(); return errors.Is(e[len(e)-1], os.ErrNotExist) })
	if !accepted(v, old) {
		t.Error("the old key is gone")
	}
	writeFile(t, path, append(otherKey, '\r', '\n'))
	eventually(t, "the new key", func() bool { return accepted(v, changed) })
	if accepted(v, old) {
		t.Error("a token of the old key is still accepted")
	}
	eventually(t, "a report of the new key", func() bool { e := r.all(); return e[len(e)-1] == nil })

	// Emptied, it takes the key back.
	writeFile(t, path, []byte("\n"))
	eventually(t, "a report that there is no key", func() bool { e := r.all(); return errors.Is(e[len(e)-1], token.ErrRevoked) })
	if accepted(v, changed) {
		t.Error("a token of the key that was taken back is still accepted")
	}
	writeFile(t, path, otherKey)
	eventually(t, "the key again", func() bool { return accepted(v, changed) })
}

func mustSign(t testing.TB, key []byte) string {
	t.Helper()
	raw, err := token.Sign("a", time.Time{}, "", key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLoadHMACFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	v := newVerifier(t, token.Config{})
	if err := v.LoadHMACFile(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	writeFile(t, path, []byte("\n"+string(hmacKey)))
	if err := v.LoadHMACFile(path); !errors.Is(err, token.ErrShortKey) {
		t.Errorf("empty first line: %v", err)
	}
	writeFile(t, path, hmacKey)
	if err := v.LoadHMACFile(path); err != nil || !accepted(v, hs256(t, object{"uid": "a"})) {
		t.Errorf("good file: %v", err)
	}
}

// jwksServer serves what set holds; nil is status 500.
type jwksServer struct{ set atomic.Pointer[[]byte] }

func (s *jwksServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	set := s.set.Load()
	if set == nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Write(*set)
}

func TestWatchJWKS(t *testing.T) {
	first, second := jwks(t, rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, nil)), jwks(t, rsaJWK(rsaKeys()[1].N, rsaKeys()[1].E, nil))
	old, changed := rs256(t, nil, object{"uid": "a"}, rsaKeys()[0]), rs256(t, nil, object{"uid": "a"}, rsaKeys()[1])
	handler := &jwksServer{}
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	file := filepath.Join(t.TempDir(), "jwks.json")
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	put := func(set []byte) {
		if set == nil {
			handler.set.Store(nil)
			os.Remove(file)
			return
		}
		handler.set.Store(&set)
		writeFile(t, file, set)
	}
	for name, source := range map[string]string{"http": plain.URL, "https": secure.URL + "/acs/api/v1/auth/jwks", "file": file} {
		t.Run(name, func(t *testing.T) {
			put(nil)
			v := newVerifier(t, token.Config{})
			s, err := token.NewJWKSSource(source, roots)
			if err != nil {
				t.Fatal(err)
			}
			var r reports
			run(t, func(ctx context.Context) {
				v.WatchJWKS(ctx, s, token.Watch{Every: 5 * time.Millisecond, Report: r.add})
			})
			last := func() error {
				if e := r.all(); len(e) > 0 {
					return e[len(e)-1]
				}
				return nil
			}
			eventually(t, "a report that there is none", func() bool { return last() != nil })
			put(first)
			eventually(t, "the first set", func() bool { return accepted(v, old) && last() == nil })
			for _, broken := range [][]byte{nil, []byte("<html>"), []byte(`{}`), make([]byte, 2<<20)} {
				put(broken)
				eventually(t, "a report of the broken set", func() bool { return last() != nil })
				if !accepted(v, old) {
					t.Fatal("the old keys are gone")
				}
				put(first)
				eventually(t, "a report that it is good again", func() bool { return last() == nil })
			}
			for _, emptied := range [][]byte{[]byte(`{"keys":[]}`), jwks(t, object{"kty": "oct", "k": "AA"})} {
				put(emptied)
				eventually(t, "a report that no key is left", func() bool { return errors.Is(last(), token.ErrRevoked) })
				if accepted(v, old) {
					t.Error("a token of a key that is in the set no more is still accepted")
				}
				put(first)
				eventually(t, "the first set again", func() bool { return accepted(v, old) && last() == nil })
			}
			put(second)
			eventually(t, "the second set", func() bool { return accepted(v, changed) })
			if accepted(v, old) {
				t.Error("a token of the old set is still accepted")
			}
		})
	}
}

func TestJWKSSourcesThatAreRefused(t *testing.T) {
	for _, source := range []string{
		"", "http://example.org/jwks", "http://10.0.0.1/jwks", "http://localhost.example.org/", "http://127.0.0.1.example.org/", "http://0.0.0.0/",
		"http:///x", "https:///x", "ftp://127.0.0.1/x", "file:///etc/passwd", "https://user:canary@example.org/", "http://user@127.0.0.1/", "://x", "http://%zz/",
	} {
		if s, err := token.NewJWKSSource(source, nil); s != nil || !errors.Is(err, token.ErrBadSource) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, %v; want ErrBadSource", source, s, err)
		}
	}
	for _, source := range []string{"https://example.org/jwks", "http://127.0.0.1:8101/x", "http://[::1]/x", "http://localhost/x", "http://127.9.9.9/", "some/file.json", "/file"} {
		if s, err := token.NewJWKSSource(source, nil); err != nil || s == nil {
			t.Errorf("%q: %v", source, err)
		}
	}
	if _, err := (&token.JWKSSource{}).Fetch(context.Background()); !errors.Is(err, token.ErrBadSource) {
		t.Errorf("the zero source: %v", err)
	}
}

// fetch fetches a key set once.
func fetch(ctx context.Context, source string, roots *x509.CertPool) ([]byte, error) {
	s, err := token.NewJWKSSource(source, roots)
	if err != nil {
		return nil, err
	}
	return s.Fetch(ctx)
}

func TestFetch(t *testing.T) {
	good := jwks(t, rsaJWK(rsaKeys()[0].N, rsaKeys()[0].E, nil))
	var sent atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { w.Write(good) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	mux.HandleFunc("/created", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated); w.Write(good) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 64<<10))
			if sent.Add(int64(n)); err != nil || sent.Load() > 64<<20 {
				return
			}
		}
	})
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	ctx := context.Background()

	if raw, err := fetch(ctx, plain.URL+"/good", nil); err != nil || string(raw) != string(good) {
		t.Errorf("http on loopback: %v", err)
	}
	if raw, err := fetch(ctx, secure.URL+"/good", roots); err != nil || string(raw) != string(good) {
		t.Errorf("https: %v", err)
	}
	if _, err := fetch(ctx, secure.URL+"/good", x509.NewCertPool()); err == nil {
		t.Error("https with an unknown certificate is accepted")
	}
	for _, path := range []string{"/redirect", "/created", "/missing", "/endless"} {
		if raw, err := fetch(ctx, plain.URL+path+"?key=canary", nil); err == nil || raw != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := sent.Load(); n > 32<<20 { // what the buffers of two sockets may hold besides the megabyte
		t.Errorf("%d bytes of an endless answer were read", n)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := fetch(short, plain.URL+"/hangs?key=canary", nil); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "canary") {
		t.Errorf("a server that hangs: %v", err)
	}
}

// A proxy from the environment would be a third party that can put in its own
// keys, for http on loopback above all.
func TestProxiesAreNotUsed(t *testing.T) {
	var asked atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	const closed = "127.0.0.1:1"
	for _, scheme := range []string{"http://", "https://"} {
		if _, err := fetch(context.Background(), scheme+closed+"/jwks", nil); err == nil {
			t.Error("fetched from a closed port")
		}
	}
	if asked.Load() {
		t.Error("the proxy was asked")
	}
}
