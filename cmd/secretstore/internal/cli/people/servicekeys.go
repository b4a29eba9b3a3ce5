package people

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// keyBits is the size of the RSA keys that these commands make.
const keyBits = 3072

// newPair makes a key for a service, as two PEM texts.
func newPair() (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	defer clear(secret)
	public, err = publicPEM(&key.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), public, err
}

func publicPEM(key *rsa.PublicKey) ([]byte, error) {
	open, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}), nil
}

func keypairCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "keypair PRIVATE.pem PUBLIC.pem", Short: "Make the two keys of a service",
		Long: "keypair writes a new RSA key to PRIVATE.pem, which only you can read, and its public key to PUBLIC.pem. It\n" +
			"does not replace an existing PRIVATE.pem.",
		Example: "  secretstore sa keypair app.pem app.pub.pem\n  secretstore sa create app --public-key app.pub.pem",
		Args:    base.ExactArgs(2, "name the files for the private and the public key")}
	cmd.RunE = base.Run(func(_ *cobra.Command, args []string) error {
		if err := mustBeNew(args[0]); err != nil {
			return err
		}
		private, public, err := newPair()
		if err != nil {
			return err
		}
		defer clear(private)
		if err := base.WriteFile(args[0], private); err != nil {
			return err
		}
		return base.WriteFile(args[1], public)
	})
	return cmd
}

// mustBeNew refuses to replace a private key.
func mustBeNew(file string) error {
	if _, err := os.Lstat(file); err == nil {
		return base.Usagef("%s exists; a service may be using it", file)
	}
	return nil
}

// overlap is how long the old keys of a service stay good after a rotation.
const overlap = 24 * time.Hour

func rotateServiceKey(p *base.Process) *cobra.Command {
	var secret string
	after := overlap
	cmd := &cobra.Command{Use: "rotate-key UID --secret PATH", Short: "Give a service a new key without interruption",
		Long: "rotate-key makes a new key for the service, adds its public key to the account, and stores the private key as\n" +
			"a new version of the secret that the service reads: the JSON of create-sa-secret, or the key alone. The old\n" +
			"keys of the account end after --retire-after; the service must read its secret again before that. If the\n" +
			"secret cannot be written, run the command again before that.",
		Example: "  secretstore sa rotate-key app --secret app/sa\n  secretstore sa rotate-key app --secret app/sa --retire-after 1h",
		Args:    base.ExactArgs(1, "name the UID")}
	cmd.Flags().StringVar(&secret, "secret", "", "`PATH` of the secret with the private key")
	cmd.Flags().DurationVar(&after, "retire-after", after, "the old keys end after `DURATION`")
	base.Required(cmd, "secret")
	return change(p, cmd, "rotated the key of", func(ctx context.Context, c *client.Client, args []string) error {
		path, err := base.SecretPath(secret)
		if err != nil {
			return err
		}
		if after <= 0 {
			return base.Usagef("--retire-after must be longer than 0")
		}
		return rotate(ctx, c, args[0], path, after)
	})
}

// rotate checks all that it can before it changes anything.
func rotate(ctx context.Context, c *client.Client, uid, path string, after time.Duration) error {
	old, err := c.Get(ctx, path, client.GetOptions{Latest: true})
	if errors.Is(err, client.ErrNotFound) {
		return &base.Hinted{Err: err, Hint: "The private key becomes a new version of a secret that exists. To make one: secretstore sa create --generate --secret PATH"}
	}
	if err != nil {
		return err
	}
	defer clear(old.Value)
	private, public, err := newPair()
	if err != nil {
		return err
	}
	defer clear(private)
	value, err := withKey(old.Value, uid, private)
	if err != nil {
		return err
	}
	defer clear(value)
	end := time.Now().Add(after).UTC().Truncate(time.Second)
	if err := c.Identities().AddKey(ctx, uid, wire.AccountKeyAdd{PublicKey: string(public), RetireAfter: &end}); err != nil {
		return err
	}
	if _, err := c.IfMatch(old.ETag).Update(ctx, path, client.Value{Data: value, Binary: old.Binary}); err != nil {
		return &base.Hinted{Err: err, Hint: fmt.Sprintf("The account has the new key, but the secret %s does not. The old keys end at %s: run this again before that.", path, end.Format(time.RFC3339))}
	}
	return nil
}

// errNoKey does not quote the secret.
var errNoKey = errors.New("the secret is neither a private key in PEM form nor the JSON of a service account; nothing was changed")

// withKey returns the value of a secret with another private key. The other members
// of JSON stay.
func withKey(value []byte, uid string, private []byte) ([]byte, error) {
	if block, _ := pem.Decode(value); block != nil {
		return bytes.Clone(private), nil
	}
	var members map[string]json.RawMessage
	var of, key string
	if json.Unmarshal(value, &members) != nil || json.Unmarshal(members["private_key"], &key) != nil || json.Unmarshal(members["uid"], &of) != nil {
		return nil, errNoKey
	}
	if of != uid {
		return nil, errors.New("the secret is that of another service account; nothing was changed")
	}
	text, err := json.Marshal(wire.Password(private))
	if err != nil {
		return nil, errNoKey
	}
	members["private_key"] = text
	return json.Marshal(members)
}

// iamCommand has what is about the identities as a whole.
func iamCommand(p *base.Process) *cobra.Command {
	return family("iam", "Manage the IAM as a whole", "  secretstore iam rotate-key\n  secretstore iam import --dcos-users zk://10.0.0.1:2181 --dry-run",
		rotateTokenKey(p), importUsers(p))
}

func rotateTokenKey(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "rotate-key", Short: "Sign new tokens with a new key",
		Long: "rotate-key makes a new key with which all servers sign tokens, from a minute later on. Tokens signed with the\n" +
			"old key stay valid until they end.",
		Example: "  secretstore iam rotate-key", Args: base.NoArgs}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		if err := c.Identities().RotateKey(ctx); err != nil {
			return err
		}
		return done(p, cmd, changed{"rotated", "iam"}, "made a new key; it signs tokens in a minute")
	})
}
