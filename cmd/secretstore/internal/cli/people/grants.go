package people

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/grantfile"
	"secretstore/iam"
)

func listResources(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "resources", Short: "List the resources that grants can be made on",
		Example: "  secretstore grants resources", Args: base.NoArgs}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		all, err := c.Grants().Resources(ctx)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, all)
		}
		var rows [][]string
		for _, a := range all {
			rows = append(rows, []string{a.RID, a.Description})
		}
		return table(p, "RESOURCE DESCRIPTION", rows)
	})
}

func listGrants(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "list [RID]", Short: "List the grants, or those on one resource",
		Long:    "list prints all grants of the IAM, or those on the resource RID. With --json it is a file for grants apply.",
		Example: "  secretstore grants list\n  secretstore grants list 'dcos:secrets:default:/team/*'\n  secretstore grants list --json > grants.json", Args: base.MaxArgs(1)}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		list, err := grantsOn(ctx, c, args)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, list)
		}
		var rows [][]string
		for _, g := range list {
			rows = append(rows, []string{g.Holder(), g.Resource, g.Action, timeText(g.Until)})
		}
		return table(p, "HOLDER RESOURCE ACTION UNTIL", rows)
	})
}

// grantsOn returns the grants on one resource, or all.
func grantsOn(ctx context.Context, c *client.Client, rid []string) ([]grantfile.Listed, error) {
	if len(rid) == 0 {
		return allGrants(ctx, c)
	}
	on, err := c.Grants().On(ctx, rid[0])
	return listed(rid[0], on), err
}

// timeText is a time in a table; "" if it is zero.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// listed returns the grants on a resource. It is never nil.
func listed(rid string, on wire.ACLPermissions) []grantfile.Listed {
	list := []grantfile.Listed{}
	add := func(uid, gid string, actions []wire.Action) {
		for _, a := range actions {
			list = append(list, grantfile.Listed{Item: grantfile.Item{User: uid, Group: gid, Resource: rid, Action: a.Name, Until: a.Until}, By: a.By, At: a.At})
		}
	}
	for _, u := range on.Users {
		add(u.UID, "", u.Actions)
	}
	for _, g := range on.Groups {
		add("", g.GID, g.Actions)
	}
	return list
}

// atOnce is how many requests read the grants of a store at the same time.
const atOnce = 8

// allGrants returns all grants, in the order of their resources.
func allGrants(ctx context.Context, c *client.Client) ([]grantfile.Listed, error) {
	resources, err := c.Grants().Resources(ctx)
	if err != nil {
		return nil, err
	}
	lists := make([][]grantfile.Listed, len(resources))
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, r := range resources {
		g.Go(func() error {
			on, err := c.Grants().On(running, r.RID)
			if hasCode(err, "ERR_UNKNOWN_RESOURCE_ID") {
				return nil // deleted meanwhile
			}
			lists[i] = listed(r.RID, on)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return append([]grantfile.Listed{}, slices.Concat(lists...)...), nil
}

// storeFor returns what the server has, as far as a file is about it.
func storeFor(ctx context.Context, c *client.Client, file grantfile.Content) (*grantfile.Store, error) {
	s := &grantfile.Store{Users: make(map[string]bool), Groups: make(map[string]bool)}
	grants, err := allGrants(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		s.Grants = append(s.Grants, g.Item)
	}
	for _, services := range []bool{false, true} {
		users, err := c.Identities().Users(ctx, services)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			s.Users[u.UID] = true
		}
	}
	groups, err := c.Identities().Groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		s.Groups[g.GID] = true
	}
	return s, readMembers(ctx, c, s, file.Groups)
}

// readMembers adds the members of groups to s.
func readMembers(ctx context.Context, c *client.Client, s *grantfile.Store, groups []string) error {
	var mu sync.Mutex // guards s.Members
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, gid := range groups {
		if !s.Groups[gid] {
			continue
		}
		g.Go(func() error {
			members, err := membersOf(running, c, gid)
			mu.Lock()
			defer mu.Unlock()
			for _, m := range members {
				i := grantfile.Item{Group: gid, User: m.User.UID}
				if gid == string(iam.Superusers) && m.At.IsZero() { // nobody has added it
					s.Fixed = append(s.Fixed, i)
				} else {
					s.Members = append(s.Members, i)
				}
			}
			return err
		})
	}
	return g.Wait()
}

// membersOf returns the people in a group, and then its services.
func membersOf(ctx context.Context, c *client.Client, gid string) (all []wire.MemberOfGroup, err error) {
	for _, services := range []bool{false, true} {
		members, err := c.Identities().Members(ctx, gid, services)
		if err != nil {
			return nil, err
		}
		all = append(all, members...)
	}
	return all, nil
}

// compared is a file beside the store.
type compared struct {
	file      string
	OnlyFile  []grantfile.Item    `json:"only_in_file"`
	OnlyStore []grantfile.Item    `json:"only_in_store"`
	Findings  []grantfile.Finding `json:"findings"`
}

func compare(ctx context.Context, p *base.Process, c *client.Client, name string) (*compared, error) {
	data, err := base.ReadText(p, name)
	if err != nil {
		return nil, err
	}
	file, err := grantfile.Parse(data)
	if err != nil {
		return nil, base.Usagef("%s: %v", name, err)
	}
	store, err := storeFor(ctx, c, file)
	if err != nil {
		return nil, err
	}
	d := &compared{file: name, Findings: append([]grantfile.Finding{}, store.Findings(file, time.Now())...)}
	onlyFile, onlyStore := store.Compare(file)
	d.OnlyFile, d.OnlyStore = append([]grantfile.Item{}, onlyFile...), append([]grantfile.Item{}, onlyStore...)
	return d, nil
}

// print shows the difference, and says what is odd about the file.
func (d *compared) print(p *base.Process) {
	for _, i := range d.OnlyStore {
		fmt.Fprintln(p.Stdout, "-", base.OneLine(i.String()))
	}
	for _, i := range d.OnlyFile {
		fmt.Fprintln(p.Stdout, "+", base.OneLine(i.String()))
	}
	for _, f := range d.Findings {
		fmt.Fprintf(p.Stderr, "%s: %s: %s\n", d.file, f.Kind, base.OneLine(f.Text))
	}
}

// serious returns how many findings keep the file from having its effect.
func (d *compared) serious() (n int) {
	for _, f := range d.Findings {
		if f.Serious() {
			n++
		}
	}
	return n
}

func checkGrants(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{Use: "check FILE", Short: "Compare the grants of the store with a file",
		Long: "check compares the grants of the store with FILE, in a form that grants apply reads. It prints what only the\n" +
			"file has, with a +, and what only the store has, with a -. It also finds users and groups that do not exist,\n" +
			"resources that no decision uses, and grants that have ended, are there twice, or are covered by a wider one.\n" +
			"The exit status is 1 if there is a difference, or a finding other than the last two.",
		Example: "  secretstore grants check grants.json\n  secretstore grants check policy.yaml --json",
		Args:    base.ExactArgs(1, "name the file")}
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		d, err := compare(ctx, p, c, args[0])
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			if err := base.PrintJSON(p.Stdout, d); err != nil {
				return err
			}
		} else {
			d.print(p)
		}
		switch {
		case len(d.OnlyFile)+len(d.OnlyStore) > 0:
			return fmt.Errorf("the grants of the store are not those of %s: %d only in the file, %d only in the store", args[0], len(d.OnlyFile), len(d.OnlyStore))
		case d.serious() > 0:
			return fmt.Errorf("%s cannot have the effect that it describes: %d finding(s)", args[0], d.serious())
		}
		return nil
	})
}

// applied is what apply did, or would do.
type applied struct {
	DryRun   bool                `json:"dry_run,omitempty"`
	Added    []grantfile.Item    `json:"added"`
	Removed  []grantfile.Item    `json:"removed"`
	Failed   []failedStep        `json:"failed"`
	Findings []grantfile.Finding `json:"findings"`
}

// failedStep is a change that the server refused.
type failedStep struct {
	Change string         `json:"change"` // add or remove
	Item   grantfile.Item `json:"item"`
	Reason string         `json:"reason"`
}

func applyGrants(p *base.Process) *cobra.Command {
	var confirm base.Confirm
	var dryRun bool
	cmd := &cobra.Command{Use: "apply FILE", Short: "Make the grants of the store equal to those of a file",
		Long: "apply adds the grants that only FILE has, and removes those that only the store has. FILE is what grants list\n" +
			"--json prints, or a policy file; - is standard input. apply creates missing resources, and the groups of a\n" +
			"policy file with the members that it names; accounts must exist. A grant that ends at another time is replaced.\n" +
			"The grant of the group superusers stays.\n\n" +
			"apply prints the changes. It asks before it removes something, unless you add --yes. With --dry-run it writes\n" +
			"nothing. If the server refuses some of the changes, the others are made, and the exit status is 1.\n\n" +
			"The changes are made one after the other. If apply is interrupted, or the server does not answer, those made\n" +
			"so far stay, and the same command makes the rest; grants check shows what is left.",
		Example: "  secretstore grants apply grants.json --dry-run\n  secretstore grants apply policy.yaml --yes",
		Args:    base.ExactArgs(1, "name the file")}
	confirm.Register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the changes, and write nothing")
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		d, err := compare(ctx, p, c, args[0])
		if err != nil {
			return err
		}
		if !base.WantJSON(cmd) {
			d.print(p)
		}
		done := &applied{DryRun: dryRun, Added: d.OnlyFile, Removed: d.OnlyStore, Failed: []failedStep{}, Findings: d.Findings}
		if n := d.serious(); dryRun && n > 0 {
			err = fmt.Errorf("%s cannot have the effect that it describes: %d finding(s)", args[0], n)
		}
		if !dryRun {
			if n := len(d.OnlyStore); n > 0 {
				if err := confirm.Ask(ctx, p, fmt.Sprintf("Remove the %d grant(s) or membership(s) marked with -?", n)); err != nil {
					return err
				}
			}
			done, err = applySteps(ctx, c, grantfile.Steps(d.OnlyFile, d.OnlyStore))
			done.Findings = d.Findings
		}
		return errors.Join(done.report(p, cmd), err)
	})
}

// applySteps makes the changes. It stops at an error that is not about one of them.
func applySteps(ctx context.Context, c *client.Client, steps []grantfile.Step) (*applied, error) {
	done := &applied{Added: []grantfile.Item{}, Removed: []grantfile.Item{}, Failed: []failedStep{}}
	for n, step := range steps {
		err := applyStep(ctx, c, step)
		refusal, ok := errors.AsType[*client.Error](err)
		switch {
		case err == nil && step.Add:
			done.Added = append(done.Added, step.Item)
		case err == nil:
			done.Removed = append(done.Removed, step.Item)
		case ok && refusal.Code != "":
			kind := "remove"
			if step.Add {
				kind = "add"
			}
			done.Failed = append(done.Failed, failedStep{kind, step.Item, refusal.Description})
		default:
			err = fmt.Errorf("stopped after %d of %d changes, at %s; run it again to make the rest: %w", n, len(steps), step.Item, err)
			if errors.Is(err, client.ErrUnknown) {
				err = &base.Hinted{Err: err, Hint: "This change may or may not have been made. apply looks before it changes anything, so it is safe to repeat."}
			}
			return done, err
		}
	}
	if n := len(done.Failed); n > 0 {
		return done, fmt.Errorf("%d of %d changes failed", n, len(steps))
	}
	return done, nil
}

// applyStep makes one change. What has been done meanwhile is not an error.
func applyStep(ctx context.Context, c *client.Client, step grantfile.Step) error {
	i := step.Item
	h := client.Holder{UID: i.User, GID: i.Group}
	var err error
	switch {
	case i.IsGrant() && step.Add:
		err = c.Grants().Allow(ctx, h, i.Action, i.Resource, i.Until)
	case i.IsGrant():
		err = c.Grants().Revoke(ctx, h, i.Action, i.Resource)
	case i.User == "":
		err = c.Identities().CreateGroup(ctx, i.Group, wire.GroupCreate{Description: "From a policy file"})
	case step.Add:
		err = c.Identities().AddMember(ctx, i.Group, i.User)
	default:
		err = c.Identities().RemoveMember(ctx, i.Group, i.User)
	}
	for _, code := range []string{"ERR_GROUP_EXISTS", "ERR_USER_ALREADY_IN_GROUP", "ERR_ACTION_NOT_YET_STORED", "ERR_USER_NOT_IN_GROUP"} {
		if hasCode(err, code) {
			return nil
		}
	}
	return err
}

// report says what was done.
func (a *applied) report(p *base.Process, cmd *cobra.Command) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(p.Stdout, a)
	}
	for _, f := range a.Failed {
		fmt.Fprintf(p.Stderr, "could not %s %s: %s\n", f.Change, base.OneLine(f.Item.String()), base.OneLine(f.Reason))
	}
	switch {
	case len(a.Added)+len(a.Removed)+len(a.Failed) == 0:
		fmt.Fprintln(p.Stderr, "nothing to change")
	case a.DryRun:
		fmt.Fprintf(p.Stderr, "would add %d and remove %d; nothing was written\n", len(a.Added), len(a.Removed))
	default:
		fmt.Fprintf(p.Stderr, "added %d, removed %d\n", len(a.Added), len(a.Removed))
	}
	return nil
}
