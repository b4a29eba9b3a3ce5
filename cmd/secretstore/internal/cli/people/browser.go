package people

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// browserTime is how long a person may take to sign in with a browser. A server
// gives up after the same time.
const browserTime = 10 * time.Minute

// inBrowser signs in at an identity provider. The time of the person does not count
// for --timeout.
func (l *login) inBrowser(ctx context.Context, c *client.Client, server string) (string, error) {
	providers, err := c.Identities().Providers(ctx)
	if err != nil {
		return "", err
	}
	p, err := providerOf(providers, l.provider)
	if err != nil {
		return "", err
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, browserTime)
	defer cancel()
	begin := p.Config["loopback_flow_url"]
	if l.paste || begin == "" { // a server of DC/OS has no such address
		return l.pasted(ctx, server, p.Config["start_flow_url"])
	}
	r, err := listen()
	if err != nil {
		fmt.Fprintf(l.p.Stderr, "secretstore: warning: %v; you will paste the token\n", err)
		return l.pasted(ctx, server, p.Config["start_flow_url"])
	}
	defer r.close()
	verifier := oauth2.GenerateVerifier()
	more := url.Values{"target": {r.target}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}}
	address, err := flowAddress(server, begin, more)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(l.p.Stderr, "Sign in at this address, in a browser on this computer (else add --paste):\n\n  %s\n\nWaiting for the browser; Ctrl-C gives up.\n", address)
	openBrowser(address)
	code, err := r.wait(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel = context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	return c.Identities().Exchange(ctx, wire.CodeExchange{Code: code, Verifier: wire.Password(verifier)})
}

// receiver waits on a loopback address for the browser, which brings the code of the
// sign-in. Without the verifier a code is useless.
type receiver struct {
	target string // its URL, with a path that others do not know
	server *http.Server
	codes  chan string
	served chan struct{} // closed when the server has ended
}

// listen starts a receiver. Close it.
func listen() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return nil, fmt.Errorf("cannot listen for the answer of a browser: %w", err)
		}
	}
	path := "/" + oauth2.GenerateVerifier()
	r := &receiver{target: "http://" + l.Addr().String() + path, codes: make(chan string, 1), served: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, r.receive)
	r.server = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(l) // it ends when the receiver is closed
	}()
	return r, nil
}

// receive takes the first code.
func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	code := req.URL.Query().Get("code")
	if code == "" {
		http.NotFound(w, req)
		return
	}
	select {
	case r.codes <- code:
	default:
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintln(w, "Go back to the command line. You can close this page.")
}

// wait returns the code.
func (r *receiver) wait(ctx context.Context) (string, error) {
	select {
	case code := <-r.codes:
		return code, nil
	case <-ctx.Done():
		return "", fmt.Errorf("no sign-in came back from a browser: %w", ctx.Err())
	}
}

// close ends the receiver, when what it has begun to answer is sent.
func (r *receiver) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if r.server.Shutdown(ctx) != nil {
		_ = r.server.Close()
	}
	<-r.served
}

// pasted signs in with the token that the page at the end of a sign-in shows.
func (l *login) pasted(ctx context.Context, server, start string) (string, error) {
	address, err := flowAddress(server, start, nil)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(l.p.Stderr, "Sign in at this address; the page at the end shows a token:\n\n  %s\n\n", address)
	openBrowser(address)
	token, err := base.ReadKey(l.p, "-", "token")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Timeout)
	defer cancel()
	return token, l.check(ctx, server, token)
}

// browserMethod is the client-method of providers that need a browser and end with
// a token.
const browserMethod = "browser-prompt-authtoken"

// providerOf returns how to sign in with a provider; "" is the only one there is.
func providerOf(all map[string]wire.LoginProvider, name string) (p wire.LoginProvider, err error) {
	var names []string
	for id, p := range all {
		if p.ClientMethod == browserMethod {
			names = append(names, base.OneLine(id))
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return p, errors.New("the server has no identity provider for a login in a browser")
	case name == "" && len(names) > 1:
		return p, base.Usagef("there are several identity providers; add --provider and one of: %s", strings.Join(names, ", "))
	case name == "":
		name = names[0]
	case !slices.Contains(names, name):
		return p, base.Usagef("the server has no identity provider %q; it has: %s", name, strings.Join(names, ", "))
	}
	return all[name], nil
}

// flowAddress returns the address where a login starts, with more parameters. The
// server cannot send the user elsewhere.
func flowAddress(server, start string, more url.Values) (string, error) {
	home, err := base.ParseServer(server)
	if err != nil {
		return "", err
	}
	at, err := url.Parse(start)
	if err != nil || at.Scheme != "" || at.Host != "" || !strings.HasPrefix(at.Path, "/") {
		return "", errors.New("the address where the login starts is not one of the server; is it a Secret Store?")
	}
	// As for all requests, the path of a server is that below which a proxy has it.
	at.Path, at.RawPath = strings.TrimSuffix(strings.TrimRight(home.Path, "/"), wire.BasePath)+at.Path, ""
	if more != nil {
		query := at.Query()
		maps.Copy(query, more)
		at.RawQuery = query.Encode()
	}
	return home.ResolveReference(at).String(), nil
}

// openBrowser opens an address, if there is a browser. The address is on the screen,
// too.
func openBrowser(address string) {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	cmd := exec.Command(program, address)
	if cmd.Start() == nil {
		_ = cmd.Process.Release() // it lives on
	}
}

// check asks the server about a token that the user has pasted.
func (l *login) check(ctx context.Context, server, token string) error {
	cfg, err := l.ClientConfig(l.p)
	if err != nil {
		return err
	}
	cfg.Server, cfg.Token = server, func(context.Context) (string, error) { return token, nil }
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Identities().Check(ctx); err != nil && !errors.Is(err, client.ErrDenied) {
		return err
	}
	return nil
}
