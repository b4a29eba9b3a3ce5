package tasks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func TokenCommand(p *base.Process) *cobra.Command {
	var service string
	var ttl time.Duration
	var uses int
	cmd := &cobra.Command{
		Use:   "task-token --service ID [--ttl DURATION] [--uses N]",
		Short: "Make a short-lived token for a task of a service",
		Long: "task-token asks the server for a token that fetches the secrets of one service and nothing else, and prints it.\n" +
			"A scheduler gives it to a task in place of the secrets. It can be used N times on all servers together, each time\n" +
			"for one secret or for one set of them; 0 is any number of times while it lives.",
		Example: "  secretstore task-token --service /group/app\n" +
			"  SECRETSTORE_TOKEN=$(secretstore task-token --service /group/app --ttl 5m) secretstore get group/db",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&service, "service", "", "`ID` of the service, such as /group/app")
	f.DurationVar(&ttl, "ttl", time.Minute, "how long the token lives, up to 24h")
	f.IntVar(&uses, "uses", 1, "how often it can be used; 0: any number of times")
	base.Required(cmd, "service")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		made, err := c.TaskToken(ctx, wire.TaskTokenRequest{Service: service, TTL: ttl.String(), Uses: &uses})
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, made)
		}
		if !isToken(made.Token) {
			return errors.New("the server answers with something that is no token; is it a Secret Store?")
		}
		_, err = fmt.Fprintln(p.Stdout, made.Token)
		return err
	})
}

// isToken keeps what a server says from driving a terminal, or from being more
// than one word of a script: a token is letters, digits and "-_.".
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
	})
}
