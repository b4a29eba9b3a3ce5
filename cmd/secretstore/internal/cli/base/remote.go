package base

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/config"
)

const defaultServer = "http://127.0.0.1:1337"

// Remote say which server a command talks to, and as whom.
type Remote struct {
	Server, tokenFile, Store, ca string
	Timeout                      time.Duration
	// reread: the file with the token is read for each request, because the
	// command may outlive a token.
	Reread bool
}

// Register adds the flags that all commands of the client have. all is where
// those commands that talk to several servers want them; nil for the others.
func (r *Remote) Register(cmd *cobra.Command, all *[]string) {
	f := cmd.Flags()
	if all != nil {
		f.StringArrayVar(all, "server", nil, "`URL` of a server; give all of them (SECRETSTORE_SERVER; default "+defaultServer+")")
	} else {
		f.StringVar(&r.Server, "server", "", "`URL` of the server (SECRETSTORE_SERVER; default "+defaultServer+")")
	}
	f.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token (SECRETSTORE_TOKEN_FILE; the token itself: SECRETSTORE_TOKEN)")
	f.StringVarP(&r.Store, "store-id", "s", "default", "`NAME` of the store")
	f.StringVar(&r.ca, "ca-cert", "", "trust the CA certificates in this `FILE` for https (PEM; SECRETSTORE_CA_CERT)")
	f.DurationVar(&r.Timeout, "timeout", 2*time.Minute, "give up on the server after so long")
	f.BoolP("json", "j", false, "print JSON")
}

// RemoteCommand makes a command of the client: body gets the client for the
// server that the flags and the environment name, and a context that ends on
// Ctrl-C.
func RemoteCommand(p *Process, cmd *cobra.Command, body func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error) *cobra.Command {
	var flags Remote
	flags.Register(cmd, nil)
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a PATH is no file
	cmd.RunE = Run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		ctx, cancel := context.WithTimeout(ctx, flags.Timeout)
		defer cancel()
		c, err := flags.Connect(p)
		if err != nil {
			return err
		}
		defer c.Close()
		return body(ctx, c, cmd, args)
	})
	return cmd
}

// Connect makes the client of the first server that is named. Nothing is sent
// yet.
func (r *Remote) Connect(p *Process) (*client.Client, error) {
	servers, err := NamedServers(p, []string{r.Server})
	if err != nil {
		return nil, err
	}
	u, err := ParseServer(servers[0])
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
	if u.Scheme == "http" && token != "" && !config.IsLoopback(u.Hostname()) {
		fmt.Fprintf(p.Stderr, "secretstore: warning: the token and the secret go to %s unencrypted; use https if the server offers it\n", u.Host)
	}
	cfg.Server = servers[0]
	return client.New(cfg)
}

// ClientConfig is what all servers have in common.
func (r *Remote) ClientConfig(p *Process) (client.Config, error) {
	token, err := r.Token(p)
	if err != nil {
		return client.Config{}, err
	}
	roots, err := loadRoots(First(r.ca, p.Getenv("SECRETSTORE_CA_CERT")))
	if err != nil {
		return client.Config{}, err
	}
	return client.Config{
		Store: r.Store, MaxAnswer: 6 * maxValue,
		Token: func(context.Context) (string, error) {
			if r.Reread {
				return r.Token(p)
			}
			return token, nil
		},
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}, nil
}

func ParseServer(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, Usagef("the server must be a URL such as %s", defaultServer)
	}
	return u, nil
}

// Token returns the token, "" if there is none: some requests need none, and
// for the others the server says what is missing.
func (r *Remote) Token(p *Process) (string, error) {
	if name := First(r.tokenFile, p.Getenv("SECRETSTORE_TOKEN_FILE")); name != "" {
		return ReadKey(p, name, "token")
	}
	return strings.TrimSpace(p.Getenv("SECRETSTORE_TOKEN")), nil
}

// First returns the first of the values that is not empty.
func First(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// loadRoots reads CA certificates; without a file it returns nil, which stands
// for those of the system.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, Usagef("%v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Usagef("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}
