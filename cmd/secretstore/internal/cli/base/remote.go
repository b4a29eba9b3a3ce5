package base

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/textfile"
)

const defaultServer = "http://127.0.0.1:1337"

// MaxPause is how long a command that repeats a call pauses at most, whatever the
// server asks for: it keeps trying until --timeout is over.
const MaxPause = 5 * time.Second

// Remote holds the flags that say which servers a command talks to, and as whom.
type Remote struct {
	Servers              []string
	tokenFile, Store, ca string
	fingerprints         []string
	cert, key            string // of this client
	Timeout              time.Duration
	// Reread reads the token file again for each request: the command may outlive a
	// token.
	Reread bool
}

// Register adds the flags.
func (r *Remote) Register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&r.Servers, "server", nil, "`URL` of a server; name all of them (SECRETSTORE_SERVER; default "+defaultServer+")")
	f.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token (SECRETSTORE_TOKEN_FILE, or the token itself in SECRETSTORE_TOKEN; default: that of the last login)")
	f.StringVarP(&r.Store, "store-id", "s", "default", "`NAME` of the store")
	f.StringVar(&r.ca, "ca-cert", "", "`FILE` with the CA certificates to trust for https (PEM; SECRETSTORE_CA_CERT)")
	f.StringArrayVar(&r.fingerprints, "server-fingerprint", nil, "`SHA256` fingerprint of a server's certificate, in place of --ca-cert; repeatable (SECRETSTORE_SERVER_FINGERPRINT)")
	f.StringVar(&r.cert, "client-cert", "", "`FILE` with a certificate of yours, to log in without a token (PEM; SECRETSTORE_CLIENT_CERT)")
	f.StringVar(&r.key, "client-key", "", "`FILE` with its private key (PEM; SECRETSTORE_CLIENT_KEY)")
	f.DurationVar(&r.Timeout, "timeout", 2*time.Minute, "give up if the server takes longer than `DURATION`")
	f.BoolP("json", "j", false, "print JSON")
}

// RemoteCommand makes cmd a command that any server can answer. body gets a client
// for the servers that the flags or the environment name, and a context that ends
// on Ctrl-C or after --timeout.
func RemoteCommand(p *Process, cmd *cobra.Command, body func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error) *cobra.Command {
	return new(Remote).Command(p, cmd, body)
}

// Command is RemoteCommand with flags that body can see.
func (r *Remote) Command(p *Process, cmd *cobra.Command, body func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error) *cobra.Command {
	r.Register(cmd)
	r.CompleteArguments(p, cmd)
	cmd.RunE = Run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := SignalContext()
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, r.Timeout)
		defer cancel()
		c, err := r.Connect(p)
		if err != nil {
			return err
		}
		defer c.Close()
		err = body(ctx, c, cmd, args)
		if errors.Is(err, client.ErrUnauthorized) {
			return r.unauthorized(p, err)
		}
		return err
	})
	return cmd
}

// unauthorized says what is wrong with the token, and how to get another.
func (r *Remote) unauthorized(p *Process, err error) error {
	t, _ := r.TokenInUse(p) // it could be read before
	switch {
	case t.Saved && t.Over():
		err = fmt.Errorf("your login ended at %s: %w", t.Until.Format(time.RFC3339), err)
	case t.Over():
		err = fmt.Errorf("the token expired at %s: %w", t.Until.Format(time.RFC3339), err)
	case t.Saved:
		err = fmt.Errorf("the server does not accept the token of your login: it was revoked, or is from another server: %w", err)
	}
	if t.Saved {
		return &Hinted{err, "Sign in again with: secretstore login"}
	}
	return err
}

// Connect returns a client for the servers. It sends nothing.
func (r *Remote) Connect(p *Process) (*client.Client, error) {
	servers, err := NamedServers(p, r.Servers)
	if err != nil {
		return nil, err
	}
	cfg, err := r.ClientConfig(p)
	if err != nil {
		return nil, err
	}
	token, err := cfg.Token(context.Background())
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		u, err := ParseServer(s)
		if err != nil {
			return nil, err
		}
		if u.Scheme == "http" && token != "" && !config.IsLoopback(u.Hostname()) {
			fmt.Fprintf(p.Stderr, "secretstore: warning: the token and the secret go to %s unencrypted; use https if the server offers it\n", u.Host)
		}
	}
	cfg.Servers = servers
	c, err := client.New(cfg)
	if err != nil {
		return nil, Usagef("%v", err)
	}
	return c, nil
}

// ClientConfig returns the configuration that all servers share.
func (r *Remote) ClientConfig(p *Process) (client.Config, error) {
	token, err := r.Token(p)
	if err != nil {
		return client.Config{}, err
	}
	tlsConfig, err := r.tls(p)
	if err != nil {
		return client.Config{}, err
	}
	fingerprints, err := r.namedFingerprints(p)
	if err != nil {
		return client.Config{}, err
	}
	if len(fingerprints) > 0 && tlsConfig.RootCAs != nil {
		return client.Config{}, Usagef("the servers are known by a CA (--ca-cert, SECRETSTORE_CA_CERT) or by a fingerprint (--server-fingerprint, SECRETSTORE_SERVER_FINGERPRINT); give only one of them")
	}
	return client.Config{
		Store: r.Store, MaxAnswer: 6 * maxValue,
		Token: func(context.Context) (string, error) {
			if r.Reread {
				return r.Token(p)
			}
			return token, nil
		},
		TLS: tlsConfig, Fingerprints: fingerprints,
	}, nil
}

// namedFingerprints returns the fingerprints by which servers are known.
func (r *Remote) namedFingerprints(p *Process) ([]string, error) {
	if len(r.fingerprints) == 0 {
		return splitList([]string{p.Getenv("SECRETSTORE_SERVER_FINGERPRINT")}), nil
	}
	all := splitList(r.fingerprints)
	if len(all) == 0 {
		return nil, Usagef("--server-fingerprint is empty")
	}
	return all, nil
}

// tls returns the configuration of TLS: whom to trust, and the certificate of this
// client.
func (r *Remote) tls(p *Process) (*tls.Config, error) {
	roots, err := LoadRoots(cmp.Or(r.ca, p.Getenv("SECRETSTORE_CA_CERT")))
	if err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	cert, key := cmp.Or(r.cert, p.Getenv("SECRETSTORE_CLIENT_CERT")), cmp.Or(r.key, p.Getenv("SECRETSTORE_CLIENT_KEY"))
	if cert == "" && key == "" {
		return out, nil
	}
	if cert == "" || key == "" {
		return nil, Usagef("a client certificate needs both --client-cert (SECRETSTORE_CLIENT_CERT) and --client-key (SECRETSTORE_CLIENT_KEY)")
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, Usagef("--client-cert: %v", err)
	}
	// Read again for each connection: a command may outlive a certificate.
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return out, nil
}

// ParseServer reads the URL of a server.
func ParseServer(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, Usagef("the server must be a URL such as %s", defaultServer)
	}
	return u, nil
}

// Token returns the token, or "". Some requests need none; for others the server
// says what is missing. The flag takes precedence over the environment, and the
// environment over the token of the last login. Two variables are refused: the user may
// mean either.
func (r *Remote) Token(p *Process) (string, error) {
	token, _, _, err := r.findToken(p)
	return token, err
}

// findToken returns the token and where it is from. A certificate that the user names
// beats the token of the last login.
func (r *Remote) findToken(p *Process) (token, from string, saved bool, err error) {
	name, from := r.tokenFile, "--token-file"
	token = strings.TrimSpace(p.Getenv("SECRETSTORE_TOKEN"))
	if name == "" {
		name, from = p.Getenv("SECRETSTORE_TOKEN_FILE"), "SECRETSTORE_TOKEN_FILE"
		if name != "" && token != "" {
			return "", "", false, Usagef("SECRETSTORE_TOKEN and SECRETSTORE_TOKEN_FILE are both set; unset one of them, or name the file with --token-file")
		}
	}
	if name != "" {
		token, err := ReadKey(p, name, "token")
		switch {
		case err != nil:
			return "", "", false, Usagef("%s: %v", from, err)
		case strings.ContainsFunc(token, notInTokens):
			return "", "", false, Usagef("%s: %s does not contain a token, %s", from, name, formOfTokens)
		case strings.Count(token, ".") != 2:
			return "", "", false, Usagef("%s: %s does not contain a token, which has three parts with dots between them", from, name)
		}
		return token, from, false, nil
	}
	if strings.ContainsFunc(token, notInTokens) {
		return "", "", false, Usagef("SECRETSTORE_TOKEN does not contain a token, %s", formOfTokens)
	}
	if token != "" || cmp.Or(r.cert, p.Getenv("SECRETSTORE_CLIENT_CERT")) != "" {
		return token, "SECRETSTORE_TOKEN", false, nil
	}
	servers, err := NamedServers(p, r.Servers)
	if err != nil {
		return "", "", false, nil // Connect says it
	}
	token, from, err = savedToken(p, servers)
	return token, from, true, err
}

// formOfTokens completes the sentence "FILE does not contain a token, ".
const formOfTokens = `which has only letters, digits, ".", "-" and "_"; leave out "token=", "Bearer" and quotes`

// notInTokens reports that a JWT cannot contain the character. Sent to the server,
// such a text would be refused without a reason, or by net/http as if the server
// were at fault.
func notInTokens(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	return !letter && !strings.ContainsRune(".-_", c)
}

// LoadRoots reads CA certificates. Without a file it returns nil, which means those
// of the system.
func LoadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, Usagef("%v", err)
	}
	pem, err := textfile.Text(data)
	if err != nil {
		return nil, Usagef("%s: %v", file, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Usagef("%s contains no PEM certificate", file)
	}
	return pool, nil
}
