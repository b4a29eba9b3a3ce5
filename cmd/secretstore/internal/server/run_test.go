package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/fixture"
)

// running is a server under test.
type running struct {
	url   string // of the first endpoint
	urls  []string
	stop  context.CancelFunc
	ended chan error
	log   *lines
}

// lines collects the log and lets a test wait for one.
type lines struct {
	seen chan string
	done chan struct{}
	all  []string // read after done is closed
}

// until returns the first line from now on that holds all words.
func (l *lines) until(t *testing.T, words ...string) string {
	t.Helper()
	timeout := time.After(3 * time.Minute)
next:
	for {
		select {
		case line, ok := <-l.seen:
			if !ok {
				t.Fatalf("the server ended without a log line with %q", words)
			}
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue next
				}
			}
			return line
		case <-timeout:
			t.Fatalf("no log line with %q", words)
		}
	}
}

// start runs a server with the given flags until the test ends. It listens on
// a free port, on its own store, unless the flags say otherwise.
func start(t *testing.T, hangup chan os.Signal, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	if err := fixture.Bootstrapped(filepath.Join(dir, "s.db")); err != nil {
		t.Fatal(err)
	}
	return startWith(t, Outside{Stdout: io.Discard, Hangup: hangup}, append([]string{
		"--listen", "127.0.0.1:0", "--storage", "bolt:" + filepath.Join(dir, "s.db"), "--superuser", "root",
		"--auth-secret-file", write(t, dir, "key", fixture.Key+"\n"),
	}, args...)...)
}

func startWith(t *testing.T, o Outside, args ...string) *running {
	t.Helper()
	r, w := io.Pipe()
	o.Stderr, o.TestOnlyPasswordRounds = w, 1000
	s, err := build(t, o, args...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	run := &running{stop: stop, ended: make(chan error, 1), log: &lines{seen: make(chan string, 1000), done: make(chan struct{})}}
	go func() {
		defer close(run.log.done)
		defer close(run.log.seen)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			run.log.all = append(run.log.all, sc.Text())
			run.log.seen <- sc.Text()
		}
	}()
	go func() {
		run.ended <- s.Run(ctx)
		w.Close()
	}()
	t.Cleanup(func() {
		stop()
		<-run.log.done
	})
	for range count(s.cfg.Listen) + count(s.cfg.TLSListen) {
		var line struct{ URL string }
		if err := json.Unmarshal([]byte(run.log.until(t, `"listening"`)), &line); err != nil {
			t.Fatal(err)
		}
		run.urls = append(run.urls, line.URL)
	}
	run.url = run.urls[0]
	return run
}

func count(s string) int {
	if s == "" {
		return 0
	}
	return 1
}

func build(t *testing.T, o Outside, args ...string) (*Server, error) {
	t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags := config.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Load(flags, func(string) string { return "" })
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	return New(t.Context(), cfg, problems, o)
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// request sends one request as uid and returns status and body.
func (r *running) request(t *testing.T, uid, method, path, body string) (int, string) {
	t.Helper()
	status, text, err := r.try(uid, method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return status, text
}

// try sends one request. A body that is a pipe is not read from before the server
// has begun to read the body.
func (r *running) try(uid, method, path string, body io.Reader) (int, string, error) {
	req, err := http.NewRequest(method, r.url+path, body)
	if err != nil {
		return 0, "", err
	}
	raw, err := token.Sign(uid, time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "token="+raw)
	if _, ok := body.(*io.PipeReader); ok {
		req.Header.Set("Expect", "100-continue")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestServerStopsCleanlyAndLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t)
	cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	if err := fixture.Certificate(cert, key); err != nil {
		t.Fatal(err)
	}
	// Everything that has a goroutine.
	r := start(t, make(chan os.Signal), "--tls-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key,
		"--policy-file", write(t, t.TempDir(), "policy", "users: {}"),
		"--auth-jwks", "http://127.0.0.1:1/nobody-is-there", "--audit-log", filepath.Join(t.TempDir(), "audit"),
		"--pprof-listen", "127.0.0.1:0")
	if status, body := r.request(t, "root", "PUT", "/secrets/v1/secret/default/a", `{"value":"x"}`); status != 201 {
		t.Fatalf("create: %d %s", status, body)
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
	<-r.log.done
}

// TestRequestInFlightIsFinishedOnShutdown stops the server while a body is
// half sent, sends the rest, and wants the usual answer and a clean end.
func TestRequestInFlightIsFinishedOnShutdown(t *testing.T) {
	r := start(t, nil)
	body, feed := io.Pipe()
	type answer struct {
		status int
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		status, _, err := r.try("root", "PUT", "/secrets/v1/secret/default/a", body)
		got <- answer{status, err}
	}()
	// The pipe takes this once the handler has begun to read: see try.
	fmt.Fprint(feed, `{"value":`)
	r.stop()
	refused(t, r.url)
	fmt.Fprint(feed, `"x"}`)
	feed.Close()
	if a := <-got; a.err != nil || a.status != 201 {
		t.Errorf("the request in flight: %d, %v; want 201", a.status, a.err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
}

// refused waits until nothing accepts connections any more.
func refused(t *testing.T, url string) {
	t.Helper()
	addr := strings.TrimPrefix(url, "http://")
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		c.Close()
	}
	t.Fatal("the server still accepts connections")
}

func TestRequestBeyondTheGraceIsCutOffAndSaidSo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	e := &endpoint{listener: l, scheme: "http", server: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-leave
	})}}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, []*endpoint{e}, 50*time.Millisecond) }()
	go http.Get(e.url()) // fails when it is cut off
	<-entered
	stop()
	if err := <-ended; !errors.Is(err, errCutOff) {
		t.Errorf("serve returned %v, want errCutOff", err)
	}
}

// TestClientsCannotTieTheServerUp checks that every bound on a client is set,
// and long enough for the largest upload at the slowest rate that is permitted.
func TestClientsCannotTieTheServerUp(t *testing.T) {
	e := &endpoint{server: &http.Server{}}
	const body = 6 * 64 << 20
	e.prepare(http.NotFoundHandler(), body, zap.NewNop())
	s := e.server
	for name, d := range map[string]time.Duration{"head": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout, "idle": s.IdleTimeout} {
		if d <= 0 {
			t.Errorf("no %s timeout", name)
		}
	}
	if slowest := time.Duration(body/slowestClient) * time.Second; s.WriteTimeout < slowest {
		t.Errorf("the answer to an upload must leave within %v, but the upload may take %v", s.WriteTimeout, slowest)
	}
	if s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 1<<20 {
		t.Errorf("head of %d bytes", s.MaxHeaderBytes)
	}
}

// TestARequestWithTwoLengthsIsRefused over HTTP and HTTPS, by the API and by the pages,
// and nothing behind it is read. Nor is anything behind other requests whose end a
// proxy may see in another place.
func TestARequestWithTwoLengthsIsRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "tls-key")
	if err := fixture.Certificate(cert, key); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "--tls-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key)
	const live = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
	for path, refusal := range map[string]string{"/live": "leave one of them out", "/ui/sign-in": "two lengths", "/ui/script.js": "two lengths"} {
		for name, row := range map[string]struct {
			text   string
			status int
		}{
			"both":     {" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
			"chunks":   {" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200},
			"HTTP/1.0": {" HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 200},
		} {
			for _, url := range s.urls {
				scheme, address, _ := strings.Cut(url, "://")
				what := fmt.Sprintf("%s to %s, %s", scheme, path, name)
				var conn net.Conn
				var err error
				if scheme == "https" {
					conn, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
				} else {
					conn, err = net.Dial("tcp", address)
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(conn, live+"GET "+path+row.text+live)
				answers := bufio.NewReader(conn)
				for i, want := range []int{200, row.status} {
					answer, err := http.ReadResponse(answers, nil)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					body, err := io.ReadAll(answer.Body)
					if answer.StatusCode != want || err != nil || answer.Close != (i == 1) || want == 400 && !strings.Contains(string(body), refusal) {
						t.Errorf("%s: %d, %s, %v; want %d", what, answer.StatusCode, body, err, want)
					}
				}
				if rest, err := io.ReadAll(answers); len(rest) != 0 {
					t.Fatalf("%s: %q, %v", what, rest, err)
				}
				_ = conn.Close()
			}
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	if err := fixture.Certificate(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, "--tls-listen", "127.0.0.1:0", "--tls-cert-file", certFile, "--tls-key-file", keyFile)
	addr := strings.TrimPrefix(r.urls[1], "https://")
	for _, tt := range []struct {
		version uint16
		ok      bool
	}{{tls.VersionTLS11, false}, {tls.VersionTLS12, true}, {tls.VersionTLS13, true}} {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tt.version})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want accepted %v", tls.VersionName(tt.version), err, tt.ok)
		}
		if err == nil {
			c.Close()
		}
	}
}

// TestDangerousStartsAreWarnedAbout: each of these serves, so the log is the
// only place to say it.
func TestDangerousStartsAreWarnedAbout(t *testing.T) {
	readable := write(t, t.TempDir(), "key", fixture.Key)
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"plain HTTP for everybody", "plain HTTP is served beyond this machine", []string{"--listen", "0.0.0.0:0"}},
		{"a key for all to read", "chmod 600", []string{"--auth-secret-file", readable}},
		{"no key", "every token is refused", []string{"--auth-secret-file="}},
		{"no rights", "no user has any permission", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			if err := fixture.Bootstrapped(path); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"--listen", "127.0.0.1:0", "--storage", "bolt:" + path}, tt.args...)
			r := startWith(t, Outside{Stdout: io.Discard}, args...)
			r.stop()
			<-r.log.done
			if all := strings.Join(r.log.all, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("no warning %q in:\n%s", tt.want, all)
			}
		})
	}
}

// TestEveryBadFileIsNamedAtOnce: what one mistake hides costs the operator
// another start.
func TestEveryBadFileIsNamedAtOnce(t *testing.T) {
	dir := t.TempDir()
	cert, key, otherCert, otherKey := filepath.Join(dir, "c"), filepath.Join(dir, "k"), filepath.Join(dir, "c2"), filepath.Join(dir, "k2")
	if err := errors.Join(fixture.Certificate(cert, key), fixture.Certificate(otherCert, otherKey)); err != nil {
		t.Fatal(err)
	}
	text := write(t, dir, "text", "user:password\n")
	locked := write(t, dir, "locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--tls-listen :0 --tls-cert-file nosuch.pem --tls-key-file nosuch.key", []string{"--tls-cert-file: open nosuch.pem", "--tls-key-file: open nosuch.key"}},
		{"--tls-listen :0 --tls-cert-file nosuch.pem", []string{"--tls-listen: needs the private key", "--tls-cert-file: open nosuch.pem"}},
		{"--tls-key-file nosuch.key", []string{"--tls-key-file: has no effect", "--tls-key-file: open nosuch.key"}},
		{"--tls-listen :0 --tls-cert-file " + text + " --tls-key-file " + cert, []string{"--tls-cert-file: .*contains no PEM certificate", "--tls-key-file: .*contains no PEM private key"}},
		{"--tls-listen :0 --tls-cert-file " + cert + " --tls-key-file " + otherKey, []string{"--tls-cert-file: certificate .* does not match"}},
		{"--tls-listen :0 --tls-cert-file " + cert + " --tls-key-file " + locked, []string{"--tls-key-file: .*passphrase"}},
		{"--storage zk://h --zk-tls-ca " + text + " --zk-tls-cert nosuch.pem --zk-tls-key nosuch.key --zk-auth-file nosuch",
			[]string{"--zk-auth-file: open nosuch", "--zk-tls-ca: .*no PEM certificate", "--zk-tls-cert: open", "--zk-tls-key: open"}},
		{"--storage zk://h --zk-tls-cert nosuch.pem", []string{"--zk-tls-cert: needs its private key", "--zk-tls-cert: open nosuch.pem"}},
		{"--policy-file nosuch --auth-secret-file nosuch --auth-jwks nosuch --audit-log nosuch/a --storage bolt:" + dir,
			[]string{"--auth-secret-file: open", "--auth-jwks: .*nosuch", "--policy-file: open", "--storage: .* is not a regular file; name a file inside it", "--audit-log: "}},
	} {
		_, err := build(t, Outside{}, strings.Fields(tt.args)...)
		var problems config.Error
		if !errors.As(err, &problems) || len(problems) != len(tt.want) {
			t.Errorf("%s:\n%v\nwant %q", tt.args, err, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !regexp.MustCompile("^" + want).MatchString(problems[i].String()) {
				t.Errorf("%s:\n%v\nwant %q", tt.args, problems[i], want)
			}
		}
		if strings.Contains(err.Error(), "user:password") {
			t.Errorf("%s: the content of a file is repeated", tt.args)
		}
	}
}

func TestTokensWithoutTheIssuerOrAudienceAreRefused(t *testing.T) {
	for args, want := range map[string]int{"--listen=127.0.0.1:0": 200, "--auth-issuer=i": 401, "--auth-audience=a": 401} {
		r := start(t, nil, args)
		if status, text := r.request(t, "root", "GET", "/secrets/v1/secret/default/?list=true", ""); status != want {
			t.Errorf("%s: %d %s, want %d", args, status, text, want)
		}
	}
}

// TestAKeyLeftOutOfASetIsLoggedAndServed: neither an error at the start, nor a
// silence that only its users notice.
func TestAKeyLeftOutOfASetIsLoggedAndServed(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":%q,"y":%q},{"kty":"RSA","kid":"odd","n":"+/+/","e":"AQAB"}]}`,
		base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:]))
	r := start(t, nil, "--auth-jwks", write(t, t.TempDir(), "set", set))
	r.log.until(t, "some of the set were left out", `kid \"odd\"`, "malformed")
	if status, body := r.request(t, "root", "GET", "/secrets/v1/seal-status/default", ""); status != 200 || !strings.Contains(body, "odd") {
		t.Errorf("status: %d %s", status, body)
	}
}

// TestCertificateChainInTheWrongOrderIsReportedAsSuch: crypto/tls says that the key
// does not match.
func TestCertificateChainInTheWrongOrderIsReportedAsSuch(t *testing.T) {
	dir := t.TempDir()
	cert, key, ca, caKey := filepath.Join(dir, "c"), filepath.Join(dir, "k"), filepath.Join(dir, "ca"), filepath.Join(dir, "cak")
	if err := errors.Join(fixture.Certificate(cert, key), fixture.Certificate(ca, caKey)); err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, file := range []string{ca, cert} {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, pem...)
	}
	_, err := build(t, Outside{}, "--storage", "memory:", "--tls-listen", ":0", "--tls-key-file", key, "--tls-cert-file", write(t, dir, "chain", string(chain)))
	if err == nil || !strings.Contains(err.Error(), "certificate 2 of") || !strings.Contains(err.Error(), "must come first") {
		t.Errorf("%v", err)
	}
}

func TestKeySetFromFileIsInForceAtTheStart(t *testing.T) {
	dir := t.TempDir()
	_, err := build(t, Outside{}, "--storage", "memory:", "--auth-jwks", write(t, dir, "set", `{"keys":[]}`))
	var problems config.Error
	if !errors.As(err, &problems) || !strings.Contains(err.Error(), "--auth-jwks: ") {
		t.Errorf("a key set without keys: %v, want a problem of --auth-jwks", err)
	}
	// A server that may start later is not a mistake in the configuration.
	if _, err := build(t, Outside{}, "--storage", "memory:", "--auth-jwks", "https://127.0.0.1:1/jwks"); err != nil {
		t.Errorf("a key set server that is down: %v", err)
	}
}

// TestFailureOfOneAddressEndsTheOthers: a server that has silently lost one of
// its addresses would be worse than one that its supervisor starts again.
func TestFailureOfOneAddressEndsTheOthers(t *testing.T) {
	defer goleak.VerifyNone(t)
	var all []*endpoint
	for range 2 {
		e, err := bind(t.Context(), "127.0.0.1:0", "http", nil)
		if err != nil {
			t.Fatal(err)
		}
		e.prepare(http.NotFoundHandler(), 0, zap.NewNop())
		all = append(all, e)
	}
	all[0].listener.Close()
	if err := serve(t.Context(), all, time.Minute); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve returned %v, want net.ErrClosed", err)
	}
}

// TestWatchersDoNotHoldUpTheEnd stops a server on which requests wait for
// minutes: they are answered, and the end is a clean one, within the grace.
func TestWatchersDoNotHoldUpTheEnd(t *testing.T) {
	r := start(t, nil)
	const watchers = 20
	type answer struct {
		status int
		body   string
		err    error
	}
	answers := make(chan answer, watchers+1)
	ask := func(path string) {
		status, body, err := r.try("root", "GET", path, nil)
		answers <- answer{status, body, err}
	}
	for range watchers {
		go ask("/secrets/v1/secret/default/a?watch=&timeout=10m")
	}
	go ask("/secrets/v1/watch/default")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, metrics := r.request(t, "root", "GET", "/metrics", ""); strings.Contains(metrics, fmt.Sprintf("secretstore_watches %d\n", watchers+1)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the watchers do not wait")
		}
	}
	r.stop()
	for range watchers + 1 {
		if a := <-answers; a.err != nil || !strings.Contains(a.body, "this server stops") {
			t.Errorf("%d %q, %v", a.status, a.body, a.err)
		}
	}
	if err := <-r.ended; err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
}
