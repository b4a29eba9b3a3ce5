package people

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// login is the command that gets a token and keeps it.
type login struct {
	base.Remote
	p            *base.Process
	passwordFile string
	service      string
	keyFile      string
	oidc, paste  bool
	provider     string
}

func loginCommand(p *base.Process) *cobra.Command {
	l := &login{p: p}
	cmd := &cobra.Command{
		Use:   "login [UID]",
		Short: "Sign in to a server and keep the token",
		Long: "login signs in as UID with a password, as a service with its private key, or in a browser. The token is\n" +
			"kept in a file that only you can read, one for each server, and the other commands use it unless a flag or\n" +
			"the environment names another token. logout deletes the file.\n\n" +
			"login asks for the password. Without a terminal it reads it from standard input, or from --password-file.\n" +
			"--key-file is the private key of a service account (PEM), or the JSON of its secret in DC/OS. A file that\n" +
			"other users can read is refused.\n\n" +
			"With --oidc you sign in at an identity provider. login prints an address, opens it in a browser, and waits\n" +
			"until you have signed in there. If the browser is on another computer, add --paste: the page at the end\n" +
			"then shows a token, which login asks for.",
		Example: "  secretstore login alice\n" +
			"  secretstore login alice --password-file password\n" +
			"  secretstore login --service-account app-principal --key-file app.pem\n" +
			"  secretstore login --oidc",
		Args: base.MaxArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&l.passwordFile, "password-file", "", "`FILE` with the password; - is standard input")
	f.StringVar(&l.service, "service-account", "", "sign in as the service `UID`, with --key-file")
	f.StringVar(&l.keyFile, "key-file", "", "`FILE` with the private key of the service; - is standard input")
	f.BoolVar(&l.oidc, "oidc", false, "sign in at an identity provider, in a browser")
	f.BoolVar(&l.paste, "paste", false, "with --oidc: ask for the token that the page at the end shows")
	f.StringVar(&l.provider, "provider", "", "`NAME` of the identity provider, if there are several")
	cmd.MarkFlagsMutuallyExclusive("service-account", "oidc", "password-file")
	return l.Command(p, cmd, l.run)
}

// run signs in, and keeps the token.
func (l *login) run(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
	servers, err := base.NamedServers(l.p, l.Servers)
	if err != nil {
		return err
	}
	token, err := l.token(ctx, c, servers[0], args)
	if err != nil {
		return refused(err)
	}
	files, err := base.SaveToken(l.p, servers, token)
	if err != nil {
		return err
	}
	now, err := l.TokenInUse(l.p)
	if err != nil {
		return err
	}
	if now.Token != token {
		fmt.Fprintf(l.p.Stderr, "secretstore: warning: the token of %s takes precedence over this one; leave that out to use this one\n", cmp.Or(now.From, "the client certificate"))
	}
	mine := base.Described(token)
	return done(l.p, cmd, signedIn{mine.UID, servers, mine.Expires(), files}, "signed in as %s at %s%s",
		base.OneLine(mine.UID), strings.Join(servers, ", "), untilText(mine.Until))
}

// signedIn is what login and whoami print.
type signedIn struct {
	UID     string     `json:"uid"`
	Servers []string   `json:"servers"`
	Expires *time.Time `json:"expires,omitempty"`
	Files   []string   `json:"files,omitempty"`
}

func untilText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", until " + t.Format(time.RFC3339)
}

// refused explains why a sign-in failed. The general hints are about tokens.
func refused(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return err
	case errors.Is(e, client.ErrUnauthorized) && e.Code == "": // the server says why
		return &base.WithStatus{Status: base.ExitDenied, Err: &base.Hinted{Err: err}}
	case errors.Is(e, client.ErrUnauthorized):
		return &base.WithStatus{Status: base.ExitDenied, Err: &base.Hinted{Err: err, Hint: "The server does not say whether the UID, the password or the key is wrong."}}
	case errors.Is(e, client.ErrNotFound):
		return &base.Hinted{Err: err, Hint: hasNone + " Give a token with --token-file FILE."}
	}
	return err
}

// token signs in.
func (l *login) token(ctx context.Context, c *client.Client, server string, args []string) (string, error) {
	switch {
	case l.service != "" && len(args) > 0, l.oidc && len(args) > 0:
		return "", base.Usagef("unexpected argument %q: with --service-account and --oidc there is no UID", args[0])
	case (l.service == "") != (l.keyFile == ""):
		return "", base.Usagef("a service signs in with --service-account UID and --key-file FILE")
	case (l.provider != "" || l.paste) && !l.oidc:
		return "", base.Usagef("--provider and --paste are for --oidc")
	case l.oidc:
		return l.inBrowser(ctx, c, server)
	case l.service != "":
		return l.asService(ctx, c)
	case len(args) == 0 || args[0] == "":
		return "", base.Usagef("name the UID to sign in as, as in: secretstore login alice")
	}
	uid := args[0]
	password, err := passwordFrom(ctx, l.p, l.passwordFile, fmt.Sprintf("Password of %s (not shown): ", base.OneLine(uid)), "")
	if err != nil {
		return "", err
	}
	defer clear(password)
	return c.Identities().SignIn(ctx, wire.Login{UID: &uid, Password: password})
}

// loginTokenLife is how long the token that a service signs for its login lives.
const loginTokenLife = 5 * time.Minute

// asService signs in with the key of a service.
func (l *login) asService(ctx context.Context, c *client.Client) (string, error) {
	key, err := readPrivateKey(l.p, l.keyFile)
	if err != nil {
		return "", err
	}
	claims := jwt.MapClaims{"uid": l.service, "exp": time.Now().Add(loginTokenLife).Unix()}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign the login: %w", err)
	}
	return c.Identities().SignIn(ctx, wire.Login{UID: &l.service, Token: wire.Password(signed)})
}

func logoutCommand(p *base.Process) *cobra.Command {
	var servers []string
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Delete the token of the last login",
		Long: "logout deletes the token that login has kept for the server. The token itself stays valid until it expires:\n" +
			"to end all tokens of an account, a superuser runs users revoke-tokens UID, or the user changes the password.",
		Example: "  secretstore logout\n  secretstore logout --server https://secrets.example.com",
		Args:    base.NoArgs,
	}
	cmd.Flags().StringArrayVar(&servers, "server", nil, "`URL` of a server; name all of them (SECRETSTORE_SERVER)")
	cmd.Flags().BoolP("json", "j", false, "print JSON")
	cmd.RunE = base.Run(func(cmd *cobra.Command, _ []string) error {
		all, err := base.NamedServers(p, servers)
		if err != nil {
			return err
		}
		found, err := base.DropToken(p, all)
		if err != nil {
			return err
		}
		text := "you were not signed in at %s"
		if found {
			text = "signed out of %s"
		}
		return done(p, cmd, map[string]any{"servers": all, "signed_out": found}, text, strings.Join(all, ", "))
	})
	return cmd
}

// identity is what whoami prints.
type identity struct {
	UID     string     `json:"uid"`
	Expires *time.Time `json:"expires,omitempty"`
	From    string     `json:"token_from"`
	// Groups are those of an account of the server; absent for others.
	Groups []string `json:"groups,omitempty"`
}

func whoamiCommand(p *base.Process) *cobra.Command {
	var flags base.Remote
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are to the server, and until when",
		Long: "whoami prints the UID in the token that the other commands use, once the server has accepted it, and the\n" +
			"groups of the account. It says where the token is from, and when it ends.",
		Example: "  secretstore whoami\n  secretstore whoami --json",
		Args:    base.NoArgs,
	}
	return flags.Command(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		t, err := flags.TokenInUse(p)
		if err != nil {
			return err
		}
		if t.Token == "" {
			return &base.WithStatus{Status: base.ExitDenied, Err: errors.New("you are not signed in; sign in with: secretstore login UID")}
		}
		// 404: the server has no accounts; what lists the secrets checks the token, too.
		err = c.Identities().Check(ctx)
		if errors.Is(err, client.ErrNotFound) {
			_, err = c.List(ctx, "/")
		}
		if err != nil && !errors.Is(err, client.ErrDenied) && !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrIncomplete) {
			return err
		}
		me := identity{UID: t.UID, Expires: t.Expires(), From: t.From}
		if groups, err := c.Identities().GroupsOf(ctx, t.UID); err == nil {
			for _, g := range groups {
				me.Groups = append(me.Groups, base.OneLine(g.Group.GID))
			}
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, me)
		}
		fmt.Fprintln(p.Stdout, base.OneLine(me.UID))
		fmt.Fprintf(p.Stderr, "The token is from %s%s.\n", me.From, untilText(t.Until))
		if len(me.Groups) > 0 {
			fmt.Fprintf(p.Stderr, "Groups: %s\n", strings.Join(me.Groups, ", "))
		}
		return nil
	})
}
