package migrate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/vault/live"
)

// maxAnswer bounds one answer of a source, in bytes.
const maxAnswer = 256 << 20

// tries is how often a request is made while the source does not answer.
const tries = 5

// remote asks a source over HTTP.
type remote struct {
	base    string // ends in a slash
	header  http.Header
	http    *http.Client
	timeout time.Duration // of a request with its repetitions
}

// newRemote checks the URL of a source. what names its flag.
func (f *Flags) newRemote(p *base.Process, what, address string, timeout time.Duration) (*remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, base.Usagef("--%s must be a URL such as https://HOST:PORT", what)
	}
	if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) {
		fmt.Fprintf(p.Stderr, "secretstore: warning: the token and the secrets of %s travel unencrypted, and anybody on the way can change them\n", u.Host)
	}
	roots, err := base.LoadRoots(f.ca)
	if err != nil {
		return nil, err
	}
	return &remote{
		base: strings.TrimRight(u.String(), "/") + "/", header: http.Header{}, timeout: timeout,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: atOnce, ForceAttemptHTTP2: true,
			},
			// A redirect would take the token to whom the source names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// answer is an answer with parts of its header.
type answer struct {
	live.Answer
	kind string // Content-Type
	etag string
}

// get sends a GET, and repeats it while the source is busy or away.
func (r *remote) get(ctx context.Context, rest string) (answer, error) {
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	a, err := client.Retry(within, client.Retries{Tries: tries, MaxPause: base.MaxPause}, func(ctx context.Context) (answer, error) { return r.once(ctx, rest) })
	if err != nil && ctx.Err() == nil {
		err = failedSource(err)
	}
	return a, err
}

func (r *remote) once(ctx context.Context, rest string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+rest, nil)
	if err != nil {
		return answer{}, errors.New("internal error: a URL that cannot be") // parts are escaped
	}
	req.Header = r.header.Clone()
	res, err := r.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode/100 == 3:
		return answer{}, fmt.Errorf("it answers with a redirect to %.200q, which is not followed; name that server if you trust it", res.Header.Get("Location"))
	case res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusGatewayTimeout:
		io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
		return answer{}, &client.Error{Status: res.StatusCode, Description: "it answers " + res.Status + "; is it sealed?"}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, &url.Error{Op: "Get", URL: req.URL.Redacted(), Err: err} // Temporary
	}
	if len(body) > maxAnswer {
		return answer{}, fmt.Errorf("an answer is larger than %d MiB", maxAnswer>>20)
	}
	return answer{live.Answer{Status: res.StatusCode, Body: body}, res.Header.Get("Content-Type"), res.Header.Get("ETag")}, nil
}

// running is a Vault that runs.
type running struct {
	*remote
	flags *Flags
}

// Get implements live.Getter.
func (r *running) Get(ctx context.Context, rest string) (live.Answer, error) {
	a, err := r.get(ctx, rest)
	return a.Answer, err
}

func (f *Flags) openVault(p *base.Process, timeout time.Duration) (origin, error) {
	if f.vaultToken == "" {
		return nil, base.Usagef("--from-vault needs --vault-token-file FILE")
	}
	token, err := base.ReadKey(p, f.vaultToken, "token")
	if err != nil {
		return nil, err
	}
	r, err := f.newRemote(p, "from-vault", f.vault, timeout)
	if err != nil {
		return nil, err
	}
	r.base = strings.TrimSuffix(r.base, "v1/")
	r.header.Set("X-Vault-Token", token)
	r.header.Set("X-Vault-Request", "true")
	if f.namespace != "" {
		r.header.Set("X-Vault-Namespace", strings.Trim(f.namespace, "/"))
	}
	return &running{r, f}, nil
}

func (r *running) list(ctx context.Context) (*inventory, error) {
	l, err := live.List(ctx, r, r.flags.options())
	if err != nil {
		return nil, err
	}
	inv, err := r.flags.inventory(l)
	if err == nil {
		for _, m := range l.Mounts {
			inv.rounds = inv.rounds || m.Kind == "KV v2"
		}
	}
	return inv, err
}

func (r *remote) changes() bool { return true }

func (r *remote) close() { r.http.CloseIdleConnections() }
