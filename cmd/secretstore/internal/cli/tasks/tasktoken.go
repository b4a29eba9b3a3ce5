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
		Short: "Get a short-lived token for a task of a service",
		Long: "task-token gets a token that can only read the secrets of one service, and prints it. A scheduler gives it\n" +
			"to a task instead of the secrets. All servers together accept it N times, each time for one secret or for\n" +
			"one request of several; with --uses 0 they accept it until it expires.",
		Example: "  secretstore task-token --service /group/app\n" +
			"  secretstore task-token --service /group/app --ttl 5m > task.token\n" +
			"  secretstore get group/db --token-file task.token      # what the task can do",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&service, "service", "", "`ID` of the service, such as /group/app")
	f.DurationVar(&ttl, "ttl", time.Minute, "the token is valid for `DURATION`, up to 24h")
	f.IntVar(&uses, "uses", 1, "it can be used `N` times (0: no limit)")
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
			return errors.New("the server returned an invalid token; is it a Secret Store?")
		}
		_, err = fmt.Fprintln(p.Stdout, made.Token)
		return err
	})
}

// isToken reports whether s consists of the characters of a JWT. Anything else could
// drive the terminal, or be more than one word in a script.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
	})
}
