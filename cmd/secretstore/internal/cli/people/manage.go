package people

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// Manage returns the commands that manage accounts, groups and grants.
func Manage(p *base.Process) []*cobra.Command {
	return []*cobra.Command{
		family("users", "Manage the accounts of people", "  secretstore users list\n  secretstore users create alice --description 'Alice A.'",
			listUsers(p, false), showUser(p), createUser(p), updateUser(p), passwdCommand(p), staleUsers(p, false), deleteUser(p), revokeTokens(p), grant(p, "UID"), revoke(p, "UID")),
		family("sa", "Manage the accounts of services", "  secretstore sa list\n  secretstore sa create app --public-key app.pub.pem",
			listUsers(p, true), showUser(p), createService(p), updateUser(p), keypairCommand(p), rotateServiceKey(p), staleUsers(p, true), deleteUser(p), revokeTokens(p), grant(p, "UID"), revoke(p, "UID")),
		family("groups", "Manage groups", "  secretstore groups list\n  secretstore groups add-user admins alice",
			listGroups(p), showGroup(p), createGroup(p), updateGroup(p), deleteGroup(p), member(p, true), member(p, false), grant(p, "GID"), revoke(p, "GID")),
		family("grants", "Manage who may do what, as a whole", "  secretstore grants list\n  secretstore grants apply grants.json --dry-run",
			listGrants(p), listResources(p), applyGrants(p), checkGrants(p)),
		iamCommand(p),
	}
}

// family is a command with others below it.
func family(name, short, example string, below ...*cobra.Command) *cobra.Command {
	var names []string
	for _, c := range below {
		c.DisableFlagsInUseLine = true
		names = append(names, c.Name())
	}
	cmd := &cobra.Command{
		Use: name + " COMMAND", Short: short, Example: example,
		Args: cobra.ArbitraryArgs, // RunE has a better message
		RunE: base.Run(func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return base.Usagef("%s has no command %q; it has: %s", name, args[0], strings.Join(names, ", "))
			}
			return base.Usagef("%s needs a command: %s", name, strings.Join(names, ", "))
		}),
	}
	cmd.AddCommand(below...)
	return cmd
}

// changed is what the commands print with --json that change something.
type changed struct {
	Action string `json:"action"`
	ID     string `json:"id"`
}

// change makes a command about one id that only says what it did.
func change(p *base.Process, cmd *cobra.Command, action string, do func(ctx context.Context, c *client.Client, args []string) error) *cobra.Command {
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		if err := do(ctx, c, args); err != nil {
			return err
		}
		return done(p, cmd, changed{action, args[0]}, "%s %s", action, base.OneLine(args[0]))
	})
}

func listUsers(p *base.Process, services bool) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the accounts", Args: base.NoArgs,
		Example: "  secretstore users list\n  secretstore sa list --json"}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		all, err := c.Identities().Users(ctx, services)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, all)
		}
		var rows [][]string
		for _, u := range all {
			rows = append(rows, []string{u.UID, u.ProviderType, u.Description})
		}
		return table(p, "UID PROVIDER DESCRIPTION", rows)
	})
}

// account is what show prints.
type account struct {
	wire.User
	Groups      []string             `json:"groups"`
	Permissions wire.UserPermissions `json:"permissions"`
}

func showUser(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "show UID", Short: "Show an account with its groups and grants",
		Example: "  secretstore users show alice\n  secretstore sa show app --json", Args: base.ExactArgs(1, "name the UID")}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		ids := c.Identities()
		u, err := ids.User(ctx, args[0])
		if err != nil {
			return err
		}
		groups, err := ids.GroupsOf(ctx, args[0])
		if err != nil {
			return err
		}
		permissions, err := ids.Permissions(ctx, args[0])
		if err != nil {
			return err
		}
		a := account{User: u, Groups: []string{}, Permissions: permissions}
		for _, g := range groups {
			a.Groups = append(a.Groups, g.Group.GID)
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, a)
		}
		fmt.Fprintf(p.Stdout, "%s: %s\nprovider: %s\ngroups: %s\n", base.OneLine(u.UID), base.OneLine(u.Description),
			base.OneLine(u.ProviderType), base.OneLine(strings.Join(a.Groups, ", ")))
		var rows [][]string
		for _, d := range permissions.Direct {
			rows = append(rows, grantRows("-", d.RID, d.Actions)...)
		}
		for _, g := range permissions.Groups {
			rows = append(rows, grantRows(g.GID, g.RID, g.Actions)...)
		}
		return table(p, "GROUP RESOURCE ACTION UNTIL", rows)
	})
}

// grantRows returns a row for each action.
func grantRows(holder, rid string, actions []wire.Action) (rows [][]string) {
	for _, a := range actions {
		rows = append(rows, []string{holder, rid, a.Name, timeText(a.Until)})
	}
	return rows
}

func createUser(p *base.Process) *cobra.Command {
	var description, file string
	cmd := &cobra.Command{Use: "create UID", Short: "Create an account with a password",
		Long:    "create asks for the password twice. Without a terminal it reads standard input, or --password-file.",
		Example: "  secretstore users create alice --description 'Alice A.'", Args: base.ExactArgs(1, "name the UID")}
	cmd.Flags().StringVar(&description, "description", "", "`TEXT` that is shown with the account")
	cmd.Flags().StringVar(&file, "password-file", "", "`FILE` with the password; - is standard input")
	return change(p, cmd, "created", func(ctx context.Context, c *client.Client, args []string) error {
		password, err := passwordFrom(ctx, p, file, "Password (not shown): ", "The same again: ")
		if err != nil {
			return err
		}
		defer clear(password)
		return c.Identities().CreateUser(ctx, args[0], wire.UserCreate{Description: description, Password: password})
	})
}

// described registers --description, which an update needs.
func described(cmd *cobra.Command, description *string) *cobra.Command {
	cmd.Flags().StringVar(description, "description", "", "the new `TEXT`; '' for none")
	base.Required(cmd, "description")
	return cmd
}

func updateUser(p *base.Process) *cobra.Command {
	var description string
	cmd := described(&cobra.Command{Use: "update UID --description TEXT", Short: "Change the description of an account",
		Example: "  secretstore users update alice --description 'Alice B.'", Args: base.ExactArgs(1, "name the UID")}, &description)
	return change(p, cmd, "updated", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().UpdateUser(ctx, args[0], wire.UserUpdate{Description: &description})
	})
}

func updateGroup(p *base.Process) *cobra.Command {
	var description string
	cmd := described(&cobra.Command{Use: "update GID --description TEXT", Short: "Change the description of a group",
		Example: "  secretstore groups update admins --description Administrators", Args: base.ExactArgs(1, "name the GID")}, &description)
	return change(p, cmd, "updated", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().UpdateGroup(ctx, args[0], description)
	})
}

func deleteUser(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "delete UID", Short: "Delete an account with its grants, and end its tokens",
		Example: "  secretstore users delete alice", Args: base.ExactArgs(1, "name the UID")}
	return change(p, cmd, "deleted", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().DeleteUser(ctx, args[0])
	})
}

func revokeTokens(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke-tokens UID", Short: "End all tokens of an account",
		Example: "  secretstore users revoke-tokens alice", Args: base.ExactArgs(1, "name the UID")}
	return change(p, cmd, "ended all tokens of", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().RevokeTokens(ctx, args[0])
	})
}

// actions are what can be granted.
var actions = []string{"create", "read", "update", "delete", "full"}

// holder returns whom a grant is for.
func holder(kind, id string) client.Holder {
	if kind == "GID" {
		return client.Holder{GID: id}
	}
	return client.Holder{UID: id}
}

// checkGrant refuses what the server would, in the words of this program.
func checkGrant(args []string) error {
	if !slices.Contains(actions, args[2]) {
		return base.Usagef("%q is not an action; the actions are: %s", args[2], strings.Join(actions, ", "))
	}
	return nil
}

func grant(p *base.Process, kind string) *cobra.Command {
	var until string
	cmd := &cobra.Command{Use: "grant " + kind + " RID ACTION", Short: "Grant an action on a resource",
		Long: "grant allows ACTION (create, read, update, delete or full) on the resource RID. A resource that the server\n" +
			"does not know yet is created. An existing grant stays as it is, with its end.",
		Example: "  secretstore users grant alice 'dcos:secrets:default:/team/*' read --until 2030-01-31T18:00:00Z",
		Args:    base.ExactArgs(3, "name the "+kind+", the resource and the action")}
	cmd.Flags().StringVar(&until, "until", "", "`TIME` when the grant ends, as in 2030-01-31T18:00:00Z")
	return change(p, cmd, "granted to", func(ctx context.Context, c *client.Client, args []string) error {
		if err := checkGrant(args); err != nil {
			return err
		}
		var end time.Time
		if until != "" {
			var err error
			if end, err = time.Parse(time.RFC3339, until); err != nil {
				return base.Usagef("--until needs a time such as 2030-01-31T18:00:00Z, not %q", until)
			}
		}
		return c.Grants().Allow(ctx, holder(kind, args[0]), args[2], args[1], end)
	})
}

func revoke(p *base.Process, kind string) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke " + kind + " RID ACTION", Short: "Revoke a granted action",
		Example: "  secretstore users revoke alice 'dcos:secrets:default:/team/*' read",
		Args:    base.ExactArgs(3, "name the "+kind+", the resource and the action")}
	return change(p, cmd, "revoked from", func(ctx context.Context, c *client.Client, args []string) error {
		if err := checkGrant(args); err != nil {
			return err
		}
		return c.Grants().Revoke(ctx, holder(kind, args[0]), args[2], args[1])
	})
}

func listGroups(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the groups", Example: "  secretstore groups list", Args: base.NoArgs}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		all, err := c.Identities().Groups(ctx)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, all)
		}
		var rows [][]string
		for _, g := range all {
			rows = append(rows, []string{g.GID, g.Description})
		}
		return table(p, "GID DESCRIPTION", rows)
	})
}

// team is what groups show prints.
type team struct {
	wire.Group
	Users       []string          `json:"users"`
	Permissions []wire.Permission `json:"permissions"`
}

func showGroup(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "show GID", Short: "Show a group with its members and grants",
		Example: "  secretstore groups show admins", Args: base.ExactArgs(1, "name the GID")}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		g, err := c.Identities().Group(ctx, args[0])
		if err != nil {
			return err
		}
		t := team{Group: g, Users: []string{}}
		members, err := membersOf(ctx, c, args[0])
		if err != nil {
			return err
		}
		for _, m := range members {
			t.Users = append(t.Users, m.User.UID)
		}
		if t.Permissions, err = c.Grants().OfGroup(ctx, args[0]); err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, t)
		}
		fmt.Fprintf(p.Stdout, "%s: %s\nmembers: %s\n", base.OneLine(g.GID), base.OneLine(g.Description), base.OneLine(strings.Join(t.Users, ", ")))
		var rows [][]string
		for _, d := range t.Permissions {
			rows = append(rows, grantRows(g.GID, d.RID, d.Actions)...)
		}
		return table(p, "GROUP RESOURCE ACTION UNTIL", rows)
	})
}

func createGroup(p *base.Process) *cobra.Command {
	var description string
	cmd := &cobra.Command{Use: "create GID", Short: "Create a group", Example: "  secretstore groups create admins", Args: base.ExactArgs(1, "name the GID")}
	cmd.Flags().StringVar(&description, "description", "", "`TEXT` that is shown with the group")
	return change(p, cmd, "created", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().CreateGroup(ctx, args[0], wire.GroupCreate{Description: description})
	})
}

func deleteGroup(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "delete GID", Short: "Delete a group with its grants",
		Example: "  secretstore groups delete admins", Args: base.ExactArgs(1, "name the GID")}
	return change(p, cmd, "deleted", func(ctx context.Context, c *client.Client, args []string) error {
		return c.Identities().DeleteGroup(ctx, args[0])
	})
}

func member(p *base.Process, add bool) *cobra.Command {
	name, short, action := "remove-user", "Take an account out of a group", "removed a member of"
	if add {
		name, short, action = "add-user", "Put an account into a group", "added a member to"
	}
	cmd := &cobra.Command{Use: name + " GID UID", Short: short, Example: "  secretstore groups " + name + " admins alice",
		Args: base.ExactArgs(2, "name the GID and the UID")}
	return change(p, cmd, action, func(ctx context.Context, c *client.Client, args []string) error {
		if add {
			return c.Identities().AddMember(ctx, args[0], args[1])
		}
		return c.Identities().RemoveMember(ctx, args[0], args[1])
	})
}
