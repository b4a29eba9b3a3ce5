package secrets

import (
	"context"
	"encoding/pem"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func serviceAccountCommand(p *base.Process) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "create-sa-secret [--strict] KEY.pem UID PATH",
		Short: "Create the secret of a DC/OS service account",
		Long: "create-sa-secret does what dcos security secrets create-sa-secret does: it stores the private key of the\n" +
			"service account UID as JSON with login_endpoint, private_key, scheme and uid. A service names PATH as its\n" +
			"service_account_secret. KEY.pem holds the private key; - is standard input.\n\n" +
			"--strict is accepted because scripts use it. It changes nothing: the login endpoint is always https.",
		Example: "  openssl genrsa -out app.pem 2048\n" +
			"  secretstore create-sa-secret --strict app.pem app-principal app/sa",
		Args: base.ExactArgs(3, "name KEY.pem, the UID of the service account, and the PATH of the secret"),
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "accepted for scripts of DC/OS; changes nothing")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[2])
		if err != nil {
			return err
		}
		if args[1] == "" {
			return base.Usagef("the UID is empty")
		}
		key, err := base.ReadText(p, args[0])
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(key); block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return base.Usagef("%s is not a private key in PEM form", args[0])
		}
		value, err := base.ServiceAccountSecret(args[1], key)
		if err != nil {
			return err
		}
		done, err := create(ctx, c, path, client.Value{Data: value})
		if err != nil {
			return err
		}
		return done.Print(p, cmd)
	})
}
