package people

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// newService is the command that makes the account of a service.
type newService struct {
	p           *base.Process
	description string
	publicFile  string
	keyFile     string
	secret      string
	generate    bool
}

func createService(p *base.Process) *cobra.Command {
	s := &newService{p: p}
	cmd := &cobra.Command{Use: "create UID", Short: "Create the account of a service with its public key",
		Long: "create makes the account of a service. Its public key is in --public-key, or is that of the private key in\n" +
			"--key-file (PEM, or the JSON of its secret), which is not sent. With --generate, create makes a new private key,\n" +
			"and stores it in the secret --secret, as create-sa-secret does, or writes it to --key-file, which only you can\n" +
			"read. That secret or file must not exist.",
		Example: "  secretstore sa create app --generate --secret app/sa\n" +
			"  secretstore sa create app --generate --key-file app.pem\n" +
			"  secretstore sa create app --key-file app.pem\n" +
			"  secretstore sa create app --public-key app.pub.pem",
		Args: base.ExactArgs(1, "name the UID")}
	f := cmd.Flags()
	f.StringVar(&s.description, "description", "", "`TEXT` that is shown with the account")
	f.StringVar(&s.publicFile, "public-key", "", "`FILE` with the public key (RSA, PEM); - is standard input")
	f.StringVar(&s.keyFile, "key-file", "", "`FILE` with the private key, or for a new one; - is standard input")
	f.StringVar(&s.secret, "secret", "", "`PATH` of the secret for the new private key")
	f.BoolVar(&s.generate, "generate", false, "make a new key")
	cmd.MarkFlagsMutuallyExclusive("public-key", "key-file", "secret")
	cmd.MarkFlagsMutuallyExclusive("public-key", "generate")
	cmd.MarkFlagsOneRequired("public-key", "key-file", "secret")
	return change(p, cmd, "created", func(ctx context.Context, c *client.Client, args []string) error {
		return s.run(ctx, c, args[0])
	})
}

func (s *newService) run(ctx context.Context, c *client.Client, uid string) error {
	switch {
	case s.generate:
		return s.withNewKey(ctx, c, uid)
	case s.secret != "":
		return base.Usagef("--secret is for a new key: add --generate")
	}
	public, err := s.publicKey()
	if err != nil {
		return err
	}
	return s.create(ctx, c, uid, public)
}

// create makes the account.
func (s *newService) create(ctx context.Context, c *client.Client, uid string, public []byte) error {
	key := string(public)
	return c.Identities().CreateUser(ctx, uid, wire.UserCreate{Description: s.description, PublicKey: &key})
}

// publicKey returns the public key of a file.
func (s *newService) publicKey() ([]byte, error) {
	if s.keyFile != "" {
		key, err := readPrivateKey(s.p, s.keyFile)
		if err != nil {
			return nil, err
		}
		return publicPEM(&key.PublicKey)
	}
	text, err := base.ReadText(s.p, s.publicFile)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(text), "PRIVATE KEY") {
		return nil, base.Usagef("%s is a private key, which the server must not have; give it with --key-file, or give the public one", s.publicFile)
	}
	return text, nil
}

// withNewKey checks all that it can before it changes anything. The file is written
// before the account is made, which would be of no use without it.
func (s *newService) withNewKey(ctx context.Context, c *client.Client, uid string) error {
	if s.keyFile != "" {
		if err := mustBeNew(s.keyFile); err != nil {
			return err
		}
	}
	_, err := c.Identities().User(ctx, uid)
	switch {
	case err == nil:
		return fmt.Errorf("the account %s exists; give it a new key with: secretstore sa rotate-key", base.OneLine(uid))
	case !hasCode(err, "ERR_UNKNOWN_USER_ID"):
		return err
	}
	private, public, err := newPair()
	if err != nil {
		return err
	}
	defer clear(private)
	if s.keyFile != "" {
		if err := base.WriteFile(s.keyFile, private); err != nil {
			return err
		}
		return s.create(ctx, c, uid, public)
	}
	return s.intoSecret(ctx, c, uid, private, public)
}

// intoSecret makes the account and stores its key in a new secret.
func (s *newService) intoSecret(ctx context.Context, c *client.Client, uid string, private, public []byte) error {
	path, err := base.SecretPath(s.secret)
	if err != nil {
		return err
	}
	old, err := c.Get(ctx, path, client.GetOptions{Latest: true})
	clear(old.Value)
	if err == nil {
		return &base.Hinted{Err: fmt.Errorf("the secret %s already exists; nothing was changed", path)}
	} else if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	value, err := base.ServiceAccountSecret(uid, private)
	if err != nil {
		return err
	}
	defer clear(value)
	if err := s.create(ctx, c, uid, public); err != nil {
		return err
	}
	if _, err := c.Create(ctx, path, client.Value{Data: value}); err != nil {
		return &base.Hinted{Err: err, Hint: fmt.Sprintf("The account exists, but its private key was not stored: run secretstore sa delete %s, and then this again.", uid)}
	}
	return nil
}

// readPrivateKey reads an RSA key, which may be in the JSON of a secret of DC/OS. A
// file that other users can read is refused.
func readPrivateKey(p *base.Process, file string) (*rsa.PrivateKey, error) {
	text, err := base.ReadPrivateText(p, file)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	var secret struct {
		PrivateKey string `json:"private_key"`
	}
	pem := text
	if json.Unmarshal(text, &secret) == nil && secret.PrivateKey != "" {
		pem = []byte(secret.PrivateKey)
		defer clear(pem)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, base.Usagef("%s is not an RSA private key in PEM form, nor the secret of a service account", file)
	}
	return key, nil
}
