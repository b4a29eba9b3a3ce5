package bulk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/migrate"
	"secretstore/cmd/secretstore/internal/forms"
)

// importFlags are the flags of import.
type importFlags struct {
	bulkFlags
	other                migrate.Flags
	dir, json, dotenv    string
	under                string
	update, skip, dryRun bool
}

func importCommand(p *base.Process) *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import (--from-dir DIR | --from-json FILE | ... | --from-vault-zk URL | ...) [--under PATH] [--overwrite | --skip-existing] [--dry-run]",
		Short: "Import secrets from files, from Vault or from DC/OS",
		Long: "import creates the secrets in a folder, a file or another store. It does not touch a secret that has the same\n" +
			"value already, so to finish an interrupted import, run it again. A secret that has another value is an error,\n" +
			"unless --overwrite (or --update) replaces it or --skip-existing keeps it. The exit status is 1 if anything\n" +
			"failed. Standard error says what import has written, and as which version.\n\n" +
			"--from-dir    Each file is a secret, byte for byte; its path is the secret's path. \"@secret\" at the end of a\n" +
			"              name is dropped: team@secret is the secret team. With the index that export and recover write, and\n" +
			"              reinit --wipe did in earlier releases (index.json or @index.json), kind, description and labels\n" +
			"              are restored. Without it, a value is text if it is UTF-8 without NUL bytes.\n" +
			"--from-json   {\"team/db\": {\"value\": \"...\"}, \"team/key\": {\"value_base64\": \"...\", \"description\": \"...\", \"labels\": []}}\n" +
			"--from-dotenv NAME=VALUE lines, quoted as in a shell; nothing is expanded. Each NAME is a secret.\n\n" +
			"Other stores: begin with --dry-run, which shows mounts, names and counts, and never values.\n\n" +
			"--from-vault-zk, --from-vault-znodes\n" +
			"              What a Vault has stored in ZooKeeper, or a dump of it: no Vault is needed. --unseal-key-file has\n" +
			"              its unseal key or shares, plain or encrypted for the keys of your gpg. A dump has one JSON object\n" +
			"              a line: {\"path\": \"/dcos/vault/default/core/_keyring\", \"data\": \"base64\" or null}.\n" +
			"--from-vault  A running Vault or OpenBao.\n" +
			"--from-dcos   A server with the Secrets API of DC/OS, or another store of this kind.\n" +
			"--from-dcos-backup, --from-dcos-migrate\n" +
			"              Files of these tools. They are not authenticated.\n\n" +
			"In Vault a secret is an object with members. One whose only member is the text \"value\" (--value-key) becomes\n" +
			"that text; with --base64-key, one member may be the bytes. If there are others, --as says what they become:\n" +
			"value (that member alone), json (the object) or split (PATH/MEMBER for each member). The mount is the first\n" +
			"part of the path, except for secret/ and for the only --mount. Metadata become labels. Deleted and destroyed\n" +
			"secrets are left out. Names that cannot be used here stop the import until --rename has others for them.",
		Example: "  secretstore import --from-dir secrets --under team --dry-run\n" +
			"  gpg --decrypt backup.tar.pgp | tar -x -C restored && secretstore import --from-dir restored\n" +
			"  gpg --decrypt secrets.json.pgp | secretstore import --from-json - --skip-existing\n" +
			"  secretstore import --from-dotenv .env --under team/app --overwrite\n" +
			"  secretstore import --from-vault-zk zk://master:2181/dcos/vault/default --unseal-key-file key --dry-run",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&flags.dir, "from-dir", "", "import the files in the folder `DIR`")
	f.StringVar(&flags.json, "from-json", "", "import the JSON document in `FILE` (- is standard input)")
	f.StringVar(&flags.dotenv, "from-dotenv", "", "import the NAME=VALUE lines in `FILE` (- is standard input)")
	f.StringVar(&flags.under, "under", "", "put all secrets below `PATH`")
	flags.other.Register(cmd)
	f.BoolVar(&flags.update, "overwrite", false, "replace values that differ")
	f.BoolVar(&flags.update, "update", false, "the same as --overwrite")
	f.BoolVar(&flags.skip, "skip-existing", false, "skip secrets that exist")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only show what import would do")
	sources := append([]string{"from-dir", "from-json", "from-dotenv"}, migrate.SourceFlags...)
	cmd.MarkFlagsMutuallyExclusive(sources...)
	cmd.MarkFlagsOneRequired(sources...)
	cmd.MarkFlagsMutuallyExclusive("update", "skip-existing")
	cmd.MarkFlagsMutuallyExclusive("overwrite", "skip-existing")
	return flags.command(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		if err := flags.other.Check(cmd); err != nil {
			return err
		}
		if flags.other.Given() {
			return flags.migrate(ctx, p, c, base.WantJSON(cmd))
		}
		return flags.run(ctx, p, c, base.WantJSON(cmd))
	})
}

func (i *importFlags) run(ctx context.Context, p *base.Process, c *client.Client, asJSON bool) error {
	all, missing, done, err := i.sources(p)
	if err != nil {
		return base.Usagef("%v\nNothing was changed", err)
	}
	defer done()
	if all, err = i.below(all); err != nil {
		return err
	}
	im := newImporting(i, c)
	for _, path := range missing {
		im.report.Failed = append(im.report.Failed, failed{path, "is damaged in the backup, which has no value for it"})
	}
	return im.finish(p, asJSON, im.all(ctx, p, all))
}

func newImporting(i *importFlags, c *client.Client) *importing {
	return &importing{flags: i, c: c, verb: "imported", report: importReport{DryRun: i.dryRun, Failed: []failed{}, Written: []base.Result{}}}
}

// finish prints the report. err is why the import has stopped, nil if it has not.
func (im *importing) finish(p *base.Process, asJSON bool, err error) error {
	im.report.sort()
	if e := im.report.print(p, asJSON); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%w\nThe rest was not %s; run the same command again to continue", err, im.verb)
	}
	return printFailed(p, im.report.Failed, im.verb)
}

// migrate imports from another store: it decides about all secrets before it writes
// the first one.
func (i *importFlags) migrate(ctx context.Context, p *base.Process, c *client.Client, asJSON bool) error {
	under, err := base.Folder("--under", i.under)
	if err != nil {
		return err
	}
	origin, err := i.other.Open(ctx, p, i.remote.Timeout)
	if err != nil {
		return err
	}
	defer origin.Close()
	plan, err := origin.NewPlan(ctx, p, under)
	if err != nil {
		return stoppedOr(ctx, err)
	}
	im := newImporting(i, c)
	im.report.fail(plan.Failed)
	im.report.Source = plan.Report
	if !asJSON && (i.dryRun || plan.Blocked != nil) {
		if err := plan.Report.Print(p.Stdout); err != nil {
			return err
		}
	}
	if plan.Blocked != nil {
		return im.blocked(p, asJSON, plan.Blocked)
	}
	err = im.all(ctx, p, plan.Sources)
	if err == nil && !i.dryRun {
		var changed []migrate.Failure
		changed, err = plan.Changes(ctx, p)
		im.report.fail(changed)
		err = stoppedOr(ctx, err)
	}
	return im.finish(p, asJSON, err)
}

// blocked prints why the import does not begin.
func (im *importing) blocked(p *base.Process, asJSON bool, why error) error {
	im.report.sort()
	if asJSON {
		if err := base.PrintJSON(p.Stdout, im.report); err != nil {
			return err
		}
	}
	_ = printFailed(p, im.report.Failed, im.verb) // it is an error in any case
	return fmt.Errorf("%w\nNothing was changed", why)
}

// stoppedOr says that the user has stopped the command, instead of what came of it.
func stoppedOr(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

// sources returns the secrets to import. done closes the folder they are in.
func (i *importFlags) sources(p *base.Process) (all []forms.Source, missing []string, done func(), err error) {
	done = func() {}
	if i.dir != "" {
		root, err := os.OpenRoot(i.dir)
		if err != nil {
			return nil, nil, done, err
		}
		all, missing, err = forms.ReadTree(root)
		return all, missing, func() { root.Close() }, err
	}
	parse := forms.ParseJSON
	if i.dotenv != "" {
		parse = forms.ParseDotenv
	}
	name := cmp.Or(i.json, i.dotenv)
	data, err := base.ReadText(p, name)
	if err != nil {
		return nil, nil, done, err
	}
	all, err = parse(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return all, nil, done, err
}

// below puts the path of --under before every path.
func (i *importFlags) below(all []forms.Source) ([]forms.Source, error) {
	folder, err := base.Folder("--under", i.under)
	if err != nil {
		return nil, err
	}
	for n := range all {
		all[n].Path = path.Join(folder.String(), all[n].Path)
		if _, err := base.SecretPath(all[n].Path); err != nil {
			return nil, base.Usagef("%s is too long for a secret path", all[n].Path)
		}
	}
	return all, nil
}

// importing is one run of import.
type importing struct {
	flags  *importFlags
	c      *client.Client
	verb   string // "imported" or "restored"
	mu     sync.Mutex
	report importReport // guarded by mu
}

// all imports all secrets. It returns an error that would repeat for every secret;
// an error of one secret goes into the report.
func (im *importing) all(ctx context.Context, p *base.Process, all []forms.Source) error {
	paths := make([]string, len(all))
	for i := range all {
		paths[i] = all[i].Path
	}
	return im.each(ctx, p, paths, func(ctx context.Context, i int) (result, error) { return im.one(ctx, all[i]) })
}

// each calls do with the index of each path. Its errors are those of all.
func (im *importing) each(ctx context.Context, p *base.Process, paths []string, do func(context.Context, int) (result, error)) error {
	line := base.NewProgress(p)
	defer line.End()
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	n := 0
	for i, path := range paths {
		if running.Err() != nil {
			break
		}
		g.Go(func() error {
			got, err := do(running, i)
			if hopeless(err) || err != nil && running.Err() != nil {
				return err
			}
			im.mu.Lock()
			defer im.mu.Unlock()
			im.report.add(path, got, err)
			n++
			line.Bar(n, len(paths))
			return nil
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

func (im *importing) one(ctx context.Context, s forms.Source) (got result, err error) {
	item, err := s.Read(ctx)
	if err != nil {
		return result{}, err
	}
	defer clear(item.Value)
	defer func() {
		for _, e := range item.Earlier {
			clear(e.Value)
		}
	}()
	item.Path = s.Path
	err = im.flags.patiently(ctx, func(ctx context.Context) error {
		got, err = im.try(ctx, item)
		return err
	})
	return got, err
}

// Errors that import finds itself.
var (
	errDiffers    = errors.New("exists with another value; replace it with --overwrite, or keep it with --skip-existing")
	errUnreadable = errors.New("exists, and you may not read it to compare; replace it with --overwrite, or keep it with --skip-existing")
)

// try reads the secret before it writes, so that it can be repeated when the outcome
// of a write is unknown.
func (im *importing) try(ctx context.Context, item forms.Item) (result, error) {
	old, err := im.c.GetWhole(ctx, item.Path)
	switch {
	case err == nil && same(old, item):
		return result{outcome: unchanged}, nil
	case err == nil:
		return im.over(ctx, item, old)
	case !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrDenied):
		return result{}, err
	case im.flags.dryRun:
		return result{outcome: created}, nil
	}
	versions := versionsOf(item)
	w, err := im.c.Create(ctx, item.Path, valueOf(versions[0]))
	if errors.Is(err, client.ErrExists) {
		return im.replace(ctx, item, im.c, errUnreadable) // or somebody else just created it
	}
	if err != nil {
		return result{}, err
	}
	return im.further(ctx, versions[1:], w, created)
}

// versionsOf returns the versions of an item, oldest first, all with its path,
// description and labels.
func versionsOf(item forms.Item) []forms.Item {
	var all []forms.Item
	for _, e := range item.Earlier {
		e.Path, e.Description, e.Labels = item.Path, item.Description, item.Labels
		all = append(all, e)
	}
	return append(all, item)
}

// further writes versions on top of the one that was just written.
func (im *importing) further(ctx context.Context, versions []forms.Item, w client.Written, what outcome) (result, error) {
	for _, v := range versions {
		var err error
		if w, err = im.ifStill(client.Secret{ETag: w.ETag}).Update(ctx, v.Path, valueOf(v)); err != nil {
			return result{}, err
		}
	}
	return result{what, w.Version}, nil
}

// over writes over a secret that has another value, if that is wanted or if the value
// is an earlier version that an interrupted import has left.
func (im *importing) over(ctx context.Context, item forms.Item, old client.Secret) (result, error) {
	versions := versionsOf(item)
	if !slices.ContainsFunc(versions, func(v forms.Item) bool { return same(old, v) }) {
		return im.replace(ctx, item, im.ifStill(old), errDiffers)
	}
	have, err := im.c.Versions(ctx, item.Path)
	if err != nil {
		return result{}, err
	}
	n := uint64(0) // how many were written; a value may be there twice
	if now := have.Versions; len(now) > 0 && now[0].ETag == old.ETag {
		n = now[0].Version
	}
	if n == 0 || n > uint64(len(versions)) || !same(old, versions[n-1]) {
		return im.replace(ctx, item, im.ifStill(old), errDiffers)
	}
	if im.flags.dryRun {
		return result{outcome: updated}, nil
	}
	return im.further(ctx, versions[n:], client.Written{ETag: old.ETag}, updated)
}

// updater is a client, perhaps one that changes only a certain version.
type updater interface {
	Update(ctx context.Context, path string, v client.Value) (client.Written, error)
}

func (im *importing) ifStill(old client.Secret) updater {
	if old.ETag == "" { // the server has no ETags
		return im.c
	}
	return im.c.IfMatch(old.ETag)
}

func (im *importing) replace(ctx context.Context, item forms.Item, by updater, refusal error) (result, error) {
	switch {
	case im.flags.skip:
		return result{outcome: skipped}, nil
	case !im.flags.update:
		return result{}, refusal
	case im.flags.dryRun:
		return result{outcome: updated}, nil
	}
	versions := versionsOf(item)
	w, err := by.Update(ctx, item.Path, valueOf(versions[0]))
	if err != nil {
		return result{}, err
	}
	return im.further(ctx, versions[1:], w, updated)
}

func valueOf(item forms.Item) client.Value {
	return client.Value{Data: item.Value, Binary: item.Binary, Description: item.Description, Labels: item.Labels}
}

// same compares everything that the item has.
func same(old client.Secret, item forms.Item) bool {
	return old.Binary == item.Binary && bytes.Equal(old.Value, item.Value) &&
		(item.Description == nil || *item.Description == old.Description) &&
		(item.Labels == nil || slices.Equal(*item.Labels, old.Labels))
}
