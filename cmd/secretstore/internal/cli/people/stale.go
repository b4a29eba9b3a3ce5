package people

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// staleDays is how long an account may be unused unless --days says otherwise.
const staleDays = 90

func staleUsers(p *base.Process, services bool) *cobra.Command {
	days := staleDays
	family := "users"
	if services {
		family = "sa"
	}
	cmd := &cobra.Command{Use: "stale", Short: "List the accounts that have not been used for a long time",
		Long: "stale lists the accounts that have neither signed in nor sent their token for --days, the longest unused\n" +
			"first. For an account that was never used, the time counts from its creation. Servers record the times once an\n" +
			"hour.",
		Example: fmt.Sprintf("  secretstore %s stale\n  secretstore %[1]s stale --days 30 --json", family), Args: base.NoArgs}
	cmd.Flags().IntVar(&days, "days", days, "unused for this `NUMBER` of days")
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		if days < 1 {
			return base.Usagef("--days must be at least 1")
		}
		all, err := c.Identities().LastUses(ctx, services)
		if err != nil {
			return err
		}
		old := unusedSince(all, time.Now().AddDate(0, 0, -days))
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, old)
		}
		var rows [][]string
		for _, u := range old {
			rows = append(rows, []string{u.UID, timeText(u.LastUse), timeText(u.Created), u.CreatedBy, u.Description})
		}
		return table(p, "UID LAST-USE CREATED BY DESCRIPTION", rows)
	})
}

// unusedSince returns the accounts that were neither used nor made after a time. It is
// never nil.
func unusedSince(all []wire.User, since time.Time) []wire.User {
	old := []wire.User{}
	for _, u := range all {
		if !latest(u).After(since) {
			old = append(old, u)
		}
	}
	slices.SortStableFunc(old, func(a, b wire.User) int { return latest(a).Compare(latest(b)) })
	return old
}

// latest is when an account was last used or, before that, made.
func latest(u wire.User) time.Time {
	if u.LastUse.After(u.Created) {
		return u.LastUse
	}
	return u.Created
}
