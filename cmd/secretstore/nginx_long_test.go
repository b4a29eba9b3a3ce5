//go:build long && zookeeper && gpg

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/zktest"
)

// router is a real nginx with the configuration of deploy/nginx.
type router struct {
	plain, tls string // addresses
	errors     string // its error log
	roots      *x509.CertPool
}

// certified is a folder with a certificate for localhost, which is its own CA.
func certified(t *testing.T) (dir string, roots *x509.CertPool) {
	t.Helper()
	dir = t.TempDir()
	if err := fixture.Certificate(filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "tls.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return dir, roots
}

var listenIPv6 = regexp.MustCompile(`(?m)^ *listen \[::\].*\n`)

// newRouter runs nginx in the foreground, in front of two servers with the
// certificate of a folder. Only what an operator adapts is changed; more pairs of
// texts are replaced as well.
func newRouter(t *testing.T, certificate string, roots *x509.CertPool, servers [2]string, more ...string) *router {
	t.Helper()
	dir := t.TempDir()
	r := &router{plain: freeAddress(t), tls: freeAddress(t), errors: filepath.Join(dir, "error.log"), roots: roots}
	text, err := os.ReadFile("../../deploy/nginx/secretstore.conf")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.tls)
	changes := append([]string{
		"listen 80", "listen " + r.plain, "listen 443", "listen " + r.tls, "https://$host$", "https://$host:" + port + "$",
		"server_name master.mesos", "server_name localhost",
		"secrets1.example.com:1338", servers[0], "secrets2.example.com:1338", servers[1], "secrets.example.com", "localhost",
		"/etc/nginx/secretstore/router.pem", certificate + "/tls.pem", "/etc/nginx/secretstore/router.key", certificate + "/tls.key",
		"/etc/nginx/secretstore/ca.pem", certificate + "/tls.pem",
	}, more...)
	conf := listenIPv6.ReplaceAllString(string(text), "")
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(conf, changes[i]) {
			t.Fatalf("the configuration has no %q", changes[i])
		}
		conf = strings.ReplaceAll(conf, changes[i], changes[i+1])
	}
	// As in Debian, answers are compressed where nothing says otherwise.
	main := fmt.Sprintf("daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log warn;\nevents {}\n"+
		"http {\ngzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	main += "include secretstore.conf;\n}\n"
	file := filepath.Join(dir, "nginx.conf")
	if err := errors.Join(os.WriteFile(file, []byte(main), 0o600), os.WriteFile(filepath.Join(dir, "secretstore.conf"), []byte(conf), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.run(t, "-p", dir, "-e", r.errors, "-c", file)
	return r
}

// run starts nginx and waits until it serves. When the test ends, it stops nginx
// and wants no value to have been in a file of it.
func (r *router) run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("/usr/sbin/nginx", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("nginx: %v; scripts/test-deps installs it", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		if err := <-ended; err != nil {
			t.Errorf("nginx: %v\n%s", err, out.String())
		}
		log, err := os.ReadFile(r.errors)
		if err != nil || bytes.Contains(log, []byte("temporary file")) {
			t.Errorf("values were written to files: %v\n%s", err, log)
		}
	})
	eventually(t, "nginx listens", func() bool {
		select {
		case err := <-ended:
			ended <- err
			log, _ := os.ReadFile(r.errors)
			t.Fatalf("nginx: %v\n%s%s", err, out.String(), log)
		default:
		}
		conn, err := net.Dial("tcp", r.tls)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// client returns one that follows no redirects, with HTTP/2 or without. Its
// requests to https://localhost, or http, go to the router.
func (r *router) client(t *testing.T, http2 bool) *http.Client {
	goAhead := patience // is how long a client waits for 100 Continue
	if http2 {
		goAhead = time.Millisecond // nginx never says it there
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableCompression: true, MaxIdleConnsPerHost: 32,
		ExpectContinueTimeout: goAhead,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := r.tls
			if strings.HasSuffix(addr, ":80") {
				to = r.plain
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// bothVersions runs a test with HTTP/1.1 and with HTTP/2.
func (r *router) bothVersions(t *testing.T, test func(*testing.T, *http.Client)) {
	for major, name := range []string{1: "HTTP/1.1", 2: "HTTP/2"} {
		if name != "" {
			t.Run(name, func(t *testing.T) {
				c := r.client(t, major == 2)
				if a := ask(t, c, "GET", "https://localhost/", "", nil); a.ProtoMajor != major {
					t.Fatalf("it speaks %s", a.Proto)
				}
				test(t, c)
			})
		}
	}
}

type reply struct {
	*http.Response
	body string
}

// ask sends a request with the headers given as "Name: value", or as map.
func ask(t *testing.T, c *http.Client, method, url, body string, headers map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	for name, value := range headers {
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{resp, string(text)}
}

// upstreams starts two HTTPS servers with one handler in place of the store's.
func upstreams(t *testing.T, certificate string, handler http.HandlerFunc) (addresses [2]string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(certificate, "tls.pem"), filepath.Join(certificate, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range addresses {
		s := httptest.NewUnstartedServer(handler)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		s.StartTLS()
		t.Cleanup(s.Close)
		addresses[i] = s.Listener.Addr().String()
	}
	return addresses
}

// TestNginxPassesOnWhatTheServerDecidesBy compares what arrives with what was
// sent: the path byte by byte, the headers that say who asks and from where, and
// the body.
func TestNginxPassesOnWhatTheServerDecidesBy(t *testing.T) {
	t.Parallel()
	type arrival struct {
		*http.Request
		body string
	}
	arrived := make(chan arrival, 1)
	certificate, roots := certified(t)
	r := newRouter(t, certificate, roots, upstreams(t, certificate, func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		arrived <- arrival{q, string(body)}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"value":"a value that could be compressed, compressed, compressed"}`)
	}))
	r.bothVersions(t, func(t *testing.T, c *http.Client) {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"} {
			for _, path := range []string{"/secrets/v1/secret/default/a%2Fb%2fc", "/secrets/v1/secret/default//a//b/?list=true&x=%2F+%20", "//secrets/v1/secret/default/x", "/secrets/v1/ping"} {
				body := ""
				if method[0] == 'P' {
					body = strings.Repeat("0123456789abcdef", 20<<10)
				}
				headers := map[string]string{
					"Authorization": "token=" + strings.Repeat("t", 16<<10), "Cookie": "a=b; dcos-acs-auth-cookie=t", "Origin": "https://localhost",
					"Sec-Fetch-Site": "same-origin", "X-Service-Id": "/group/app", "If-Match": `"1"`, "X-Forwarded-For": "192.0.2.1", "Accept-Encoding": "gzip",
				}
				a := ask(t, c, method, "https://localhost"+path, body, headers)
				if a.StatusCode != 200 {
					t.Fatalf("%s %s: %s %s", method, path, a.Status, a.body)
				}
				got := <-arrived
				if got.Method != method || got.RequestURI != path || got.Host != "localhost" || got.body != body {
					t.Errorf("%s %s: %s %s for %q with %d bytes of body", method, path, got.Method, got.RequestURI, got.Host, len(got.body))
				}
				headers["X-Forwarded-For"] = "127.0.0.1" // which the client cannot set
				for name, want := range headers {
					if values := got.Header[http.CanonicalHeaderKey(name)]; len(values) != 1 || values[0] != want {
						t.Errorf("%s %s: %s is %q", method, path, name, values)
					}
				}
				if a.Header.Get("Content-Encoding") != "" || a.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s %s: %v", method, path, a.Header)
				}
			}
		}
	})
}

// TestNginxRepeatsReadsOnly: both servers take each request and then close the
// connection. A write may have taken effect then.
func TestNginxRepeatsReadsOnly(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int32
	certificate, roots := certified(t)
	r := newRouter(t, certificate, roots, upstreams(t, certificate, func(http.ResponseWriter, *http.Request) {
		arrived.Add(1)
		panic(http.ErrAbortHandler)
	}), "max_fails=1", "max_fails=0") // no server is left out
	for _, row := range []struct {
		method, body string
		times        int32
	}{{"GET", "", 2}, {"HEAD", "", 2}, {"PUT", "", 1}, {"PUT", "x", 1}, {"DELETE", "", 1}, {"POST", "x", 1}, {"PATCH", "x", 1}} {
		r.bothVersions(t, func(t *testing.T, c *http.Client) {
			arrived.Store(0)
			a := ask(t, c, row.method, "https://localhost/secrets/v1/secret/default/a", row.body, map[string]string{"Authorization": "token=t"})
			if got := arrived.Load(); got != row.times || a.StatusCode != 502 {
				t.Errorf("%s with %q: sent %d times, %s; want %d times and 502", row.method, row.body, got, a.Status, row.times)
			}
			if row.method != "HEAD" && (!strings.Contains(a.body, "outcome unknown") || a.Header.Get("Content-Type") != "application/json") {
				t.Errorf("%s: %q", row.method, a.body)
			}
		})
	}
}

// routed is a store of two real servers behind a router.
type routed struct {
	*router
	dir     string
	storage string
	servers [2]*child
	address [2]string
}

func newRouted(t *testing.T) *routed {
	zookeeper := zktest.Start(t)
	s := &routed{storage: fmt.Sprintf("zk://%s/%s", zookeeper.Addr(), "nginx")}
	var roots *x509.CertPool
	s.dir, roots = certified(t)
	if err := os.WriteFile(filepath.Join(s.dir, "key"), []byte(fixture.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range s.servers {
		s.address[i] = freeAddress(t)
		s.start(t, i)
	}
	s.router = newRouter(t, s.dir, roots, s.address)
	for i := range s.servers {
		s.awaitReady(t, i)
	}
	return s
}

func (s *routed) start(t *testing.T, i int) {
	t.Helper()
	log, err := os.Create(filepath.Join(s.dir, fmt.Sprint("log", i)))
	if err != nil {
		t.Fatal(err)
	}
	c := &child{ended: make(chan struct{}), cmd: exec.Command("secretstore", "server", "--storage", s.storage, "--listen", "", "--tls-listen", s.address[i],
		"--tls-cert-file", filepath.Join(s.dir, "tls.pem"), "--tls-key-file", filepath.Join(s.dir, "tls.key"), "--trusted-proxies", "127.0.0.1",
		"--auth-secret-file", filepath.Join(s.dir, "key"), "--superuser", "root", "--audit-log", filepath.Join(s.dir, fmt.Sprint("audit", i)))}
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), "GORACE=atexit_sleep_ms=0"), log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	go func() {
		c.cmd.Wait() // killed
		close(c.ended)
	}()
	t.Cleanup(c.kill)
	s.servers[i] = c
}

// direct asks a server without the router.
func (s *routed) direct(t *testing.T, i int, method, path string) (reply, error) {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.address[i]+path, nil)
	if err != nil {
		return reply{}, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, string(body)}, err
}

func (s *routed) awaitReady(t *testing.T, i int) {
	t.Helper()
	eventually(t, "the server is ready", func() bool {
		a, err := s.direct(t, i, "GET", "/ready")
		return err == nil && a.StatusCode == 200
	})
}

func (s *routed) token(t *testing.T) string {
	t.Helper()
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const routedSecret = "https://localhost/secrets/v1/secret/default/"

// TestStoreBehindNginx asks real servers through a real nginx.
func TestStoreBehindNginx(t *testing.T) {
	s := newRouted(t)
	raw := s.token(t)
	header, cookie := map[string]string{"Authorization": "token=" + raw}, "dcos-acs-info-cookie=x; dcos-acs-auth-cookie="+raw
	s.bothVersions(t, func(t *testing.T, c *http.Client) {
		t.Run("a request without a token is answered as by the server", func(t *testing.T) {
			s.answersAnonymousAsTheServer(t, c)
		})
		t.Run("nothing but the API can be reached", func(t *testing.T) {
			for _, path := range []string{"/", "/metrics", "/live", "/secrets/v1/../../metrics", "/secrets/v1/..%2f..%2fmetrics", "/secrets/v1/ping/%2e%2e/%2e%2e/%2e%2e/metrics", "//metrics", "/secrets/v1/ping#/../../../metrics", "/debug/pprof/"} {
				req, err := http.NewRequestWithContext(t.Context(), "GET", "https://localhost", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Opaque = "//localhost" + path
				req.Header.Set("Authorization", header["Authorization"])
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode/100 != 4 || resp.Header.Get("Content-Type") != "application/json" && resp.StatusCode != 400 {
					t.Errorf("%s: %s %.100s", path, resp.Status, body)
				}
			}
		})
		t.Run("other names are refused", func(t *testing.T) {
			if a := ask(t, c, "GET", "https://localhost/secrets/v1/ping", "", map[string]string{"Host": "evil.example.com"}); a.StatusCode != 421 {
				t.Error(a.Status)
			}
			if a := ask(t, c, "GET", "http://localhost/secrets/v1/ping", "", map[string]string{"Host": "evil.example.com"}); a.StatusCode != 421 {
				t.Error(a.Status)
			}
		})
		t.Run("plain HTTP is redirected", func(t *testing.T) {
			for _, method := range []string{"GET", "PUT"} {
				a := ask(t, c, method, "http://localhost/secrets/v1/secret/default/a%2Fb?list=true", "", nil)
				want := "https://localhost:" + s.tls[strings.LastIndex(s.tls, ":")+1:] + "/secrets/v1/secret/default/a%2Fb?list=true"
				if a.StatusCode != 307 || a.Header.Get("Location") != want {
					t.Errorf("%s: %s to %s, want %s", method, a.Status, a.Header.Get("Location"), want)
				}
			}
		})
		t.Run("a secret with a slash in its encoded path", func(t *testing.T) {
			if a := ask(t, c, "PUT", routedSecret+"folder%2Fkey", `{"value":"v"}`, header); a.StatusCode != 201 || a.body != "" {
				t.Fatal(a.Status, a.body)
			}
			if a := ask(t, c, "GET", routedSecret+"folder/key", "", header); a.StatusCode != 200 || !strings.Contains(a.body, `"value":"v"`) || a.Header.Get("Content-Type") != "application/json" {
				t.Error(a.Status, a.body)
			}
			if a := ask(t, c, "PUT", routedSecret+"folder/key", `{"value":"v"}`, header); a.StatusCode != 409 || !strings.Contains(a.body, "already exists") {
				t.Error(a.Status, a.body)
			}
			if a := ask(t, c, "DELETE", routedSecret+"folder%2fkey", "", header); a.StatusCode != 204 {
				t.Error(a.Status, a.body)
			}
		})
		t.Run("a value of the largest size", func(t *testing.T) {
			value := strings.Repeat("v", 1<<20)
			if a := ask(t, c, "PUT", routedSecret+"large", value, map[string]string{"Authorization": header["Authorization"], "Content-Type": "application/octet-stream", "Expect": "100-continue"}); a.StatusCode != 201 {
				t.Fatal(a.Status, a.body)
			}
			if a := ask(t, c, "GET", routedSecret+"large", "", header); a.StatusCode != 200 || a.body != value {
				t.Error(a.Status, len(a.body))
			}
			if a := ask(t, c, "DELETE", routedSecret+"large", "", header); a.StatusCode != 204 {
				t.Error(a.Status)
			}
		})
		t.Run("a cookie reads, and writes from pages of the router only", func(t *testing.T) {
			for _, row := range []struct {
				method, header, value string
				status                int
			}{
				{"GET", "", "", 404},
				{"PUT", "", "", 401},
				{"PUT", "Sec-Fetch-Site", "cross-site", 401},
				{"PUT", "Sec-Fetch-Site", "same-site", 401},
				{"PUT", "Origin", "https://evil.example.com", 401},
				{"PUT", "Origin", "http://localhost", 401}, // anybody on the way can forge such a page
				{"PUT", "Sec-Fetch-Site", "same-origin", 201},
				{"DELETE", "Origin", "https://localhost", 204},
			} {
				body := ""
				if row.method == "PUT" {
					body = `{"value":"v"}`
				}
				headers := map[string]string{"Cookie": cookie}
				if row.header != "" {
					headers[row.header] = row.value
				}
				if a := ask(t, c, row.method, routedSecret+"by/cookie", body, headers); a.StatusCode != row.status {
					t.Errorf("%s with %s %q: %s, want %d", row.method, row.header, row.value, a.Status, row.status)
				}
			}
		})
	})
	t.Run("the audit log has the address of the client", func(t *testing.T) {
		ask(t, s.client(t, false), "GET", routedSecret+"a", "", map[string]string{"Authorization": header["Authorization"], "X-Forwarded-For": "192.0.2.7"})
		all := ""
		for i := range s.servers {
			text, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprint("audit", i)))
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		if !strings.Contains(all, "127.0.0.1") || strings.Contains(all, "192.0.2.7") {
			t.Errorf("%.500s", all)
		}
	})
}

// answersAnonymousAsTheServer: what is open on a server is open behind nginx, and
// the rest is not.
func (s *routed) answersAnonymousAsTheServer(t *testing.T, c *http.Client) {
	for _, request := range []string{
		"GET /secrets/v1/ping", "GET /secrets/v1/ping/backends/default", "GET /secrets/v1/ping/backends/all", "GET /secrets/v1/openapi.json",
		"GET /secrets/v1/store", "GET /secrets/v1/store/default", "GET /secrets/v1/seal-status/default", "GET /secrets/v1/init/default",
		"PUT /secrets/v1/seal/default", "GET /secrets/v1/secret/default/a", "GET /secrets/v1/secret/default/?list=true", "PUT /secrets/v1/secret/default/a",
		"DELETE /secrets/v1/secret/default/a", "POST /secrets/v1/resolve/default", "GET /secrets/v1/nothing", "GET /secrets/v1/",
	} {
		method, path, _ := strings.Cut(request, " ")
		want, err := s.direct(t, 0, method, path)
		if err != nil {
			t.Fatal(err)
		}
		got := ask(t, c, method, "https://localhost"+path, "", map[string]string{"Cookie": "dcos-acs-info-cookie=x"})
		if got.StatusCode != want.StatusCode {
			t.Errorf("%s: %s, the server itself says %s", request, got.Status, want.Status)
		}
		for _, name := range []string{"Content-Type", "Cache-Control", "X-Content-Type-Options", "Www-Authenticate"} {
			if got.Header.Get(name) != want.Header.Get(name) {
				t.Errorf("%s: %s is %q, the server's %q", request, name, got.Header.Get(name), want.Header.Get(name))
			}
		}
	}
}

// TestOneRepetitionCuresTheLossOfAServer kills one of the servers under load, and
// after it is back the other one. Whatever fails succeeds at the second attempt,
// and nothing shows that a write was done twice.
func TestOneRepetitionCuresTheLossOfAServer(t *testing.T) {
	s := newRouted(t)
	l := &load{token: s.token(t), ended: make(chan struct{})}
	g, ctx := errgroup.WithContext(t.Context())
	for n := range 8 {
		c := s.client(t, n%2 == 0)
		g.Go(func() error { return l.run(ctx, c, fmt.Sprintf("load/%d", n)) })
	}
	for i := range s.servers {
		l.await(ctx, 400)
		s.servers[i].kill()
		l.await(ctx, 400)
		s.start(t, i)
		s.awaitReady(t, i)
		before := s.decisions(t, i)
		eventually(t, "nginx uses the server again", func() bool { return ctx.Err() != nil || s.decisions(t, i) > before })
	}
	close(l.ended)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests, %d of them twice", l.requests.Load(), l.repeated.Load())
}

// decisions returns how many lines the audit log of a server has.
func (s *routed) decisions(t *testing.T, i int) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprint("audit", i)))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(log, []byte("\n"))
}

// load makes requests until it ends.
type load struct {
	token              string
	ended              chan struct{}
	requests, repeated atomic.Int64
}

// await waits until n more requests have been made, or until ctx ends.
func (l *load) await(ctx context.Context, n int64) {
	for from := l.requests.Load(); l.requests.Load() < from+n && ctx.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
	}
}

// run creates, updates, reads and deletes secrets of its own.
func (l *load) run(ctx context.Context, c *http.Client, folder string) error {
	for n := 0; ; n++ {
		select {
		case <-l.ended:
			return nil
		default:
		}
		path := fmt.Sprintf("%s/%d", folder, n)
		body := fmt.Sprintf(`{"value":"%s"}`, path)
		for _, op := range []struct {
			method, body, want string
			status, repeated   int // of the first attempt, and another one of the second
		}{
			{"PUT", `{"value":"first"}`, "", 201, 409},
			{"PATCH", body, "", 204, 204},
			{"GET", "", body[1 : len(body)-1], 200, 200},
			{"DELETE", "", "", 204, 404},
		} {
			status, answer, err := l.once(ctx, c, op.method, path, op.body)
			wanted := status == op.status
			if err != nil || status >= 500 {
				first := fmt.Sprint(status, answer, err)
				l.repeated.Add(1)
				if status, answer, err = l.once(ctx, c, op.method, path, op.body); err != nil {
					return fmt.Errorf("%s %s: %w; before: %s", op.method, path, err, first)
				}
				wanted = status == op.status || status == op.repeated
			}
			if !wanted || !strings.Contains(answer, op.want) && status == 200 {
				return fmt.Errorf("%s %s: %d %q", op.method, path, status, answer)
			}
			l.requests.Add(1)
		}
	}
}

func (l *load) once(ctx context.Context, c *http.Client, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, routedSecret+path, nil)
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		// Without GetBody, so that the client repeats nothing itself.
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	req.Header.Set("Authorization", "token="+l.token)
	req.Header.Set("Cache-Control", "no-cache") // the other server may have taken the write
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// anAddress is a link, a form or a file of a page.
var anAddress = regexp.MustCompile(`(?:href|src|action)="([^"]*)"|url=([^"]*)"`)

// TestPagesBehindNginx uses the pages below a prefix that nginx strips, at two servers
// in turn.
func TestPagesBehindNginx(t *testing.T) {
	s := newRouted(t)
	const prefix = "https://localhost/service/secrets/"
	s.bothVersions(t, func(t *testing.T, c *http.Client) {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Jar = jar
		// visit follows redirects, and wants that nothing leaves the prefix.
		visit := func(method, at string, form url.Values) (page string) {
			t.Helper()
			for range 5 {
				headers := map[string]string{"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
				a := ask(t, c, method, at, form.Encode(), headers)
				here := a.Request.URL
				if a.StatusCode != http.StatusSeeOther {
					if a.StatusCode != http.StatusOK {
						t.Fatalf("%s %s: %s %s", method, at, a.Status, a.body)
					}
					for _, found := range anAddress.FindAllStringSubmatch(a.body, -1) {
						to, err := here.Parse(html.UnescapeString(found[1] + found[2]))
						if err != nil || strings.HasPrefix(found[1]+found[2], "/") || !strings.HasPrefix(to.String(), prefix+"ui/") {
							t.Errorf("%s leads to %s: %v", at, to, err)
						}
					}
					return a.body
				}
				to, err := here.Parse(a.Header.Get("Location"))
				if err != nil || !strings.HasPrefix(to.String(), prefix+"ui/") {
					t.Fatalf("%s leads to %s: %v", at, a.Header.Get("Location"), err)
				}
				method, at, form = "GET", to.String(), nil
			}
			t.Fatal("too many redirects")
			return ""
		}
		token := func(page string) string {
			t.Helper()
			found := regexp.MustCompile(`name="form-token" value="([^"]+)"`).FindStringSubmatch(page)
			if found == nil {
				t.Fatal(page)
			}
			return found[1]
		}
		if page := visit("GET", prefix, nil); !strings.Contains(page, "Sign in") {
			t.Fatal(page)
		}
		page := visit("POST", prefix+"ui/sign-in", url.Values{"token": {s.token(t)}, "next": {"secrets"}})
		at, _ := url.Parse(prefix)
		if cookies := jar.Cookies(at); len(cookies) != 1 {
			t.Fatalf("the session: %v", cookies)
		}
		name := "team/" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
		form := url.Values{"form-token": {token(page)}, "path": {name}, "value": {"a <value>"}}
		if page := visit("POST", prefix+"ui/secret-new", form); !strings.Contains(page, "Created.") {
			t.Fatal(page)
		}
		if page := visit("GET", prefix+"ui/secrets?folder=team", nil); !strings.Contains(page, "secret?path="+url.QueryEscape(name)) {
			t.Error(page)
		}
		for _, path := range []string{"access", "keys", "servers", "check", "unseal", "secrets?search=team"} {
			visit("GET", prefix+"ui/"+path, nil)
		}
		visit("POST", prefix+"ui/sign-out", form)
		if cookies := jar.Cookies(at); len(cookies) != 0 {
			t.Errorf("after the sign-out: %v", cookies)
		}

		// The cookie of the cluster is a sign-in.
		c.Jar, _ = cookiejar.New(nil)
		c.Jar.SetCookies(at, []*http.Cookie{{Name: "dcos-acs-auth-cookie", Value: s.token(t), Path: "/", Secure: true}})
		if page := visit("GET", prefix+"ui/secrets", nil); !strings.Contains(page, "<span>root</span>") {
			t.Error(page)
		}
		c.Jar = nil
		for _, path := range []string{"metrics", "ready", "secrets/v1/store", "acs/api/v1/users", "ui/../metrics", "ui/..%2fmetrics", "ui/%2e%2e/secrets/v1/store"} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://localhost", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = "//localhost/service/secrets/" + path
			req.Header.Set("Authorization", "token="+s.token(t))
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode/100 != 4 {
				t.Errorf("%s can be reached: %s %.100s", path, resp.Status, body)
			}
		}
	})
}
