package bulk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
)

// importFlags are the flags of import.
type importFlags struct {
	bulkFlags
	dir, json, dotenv    string
	under                string
	update, skip, dryRun bool
}

func importCommand(p *base.Process) *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import (--from-dir DIR | --from-json FILE | --from-dotenv FILE) [--under PATH] [--update | --skip-existing] [--dry-run]",
		Short: "Import secrets from a folder, a JSON file or a dotenv file",
		Long: "import creates the secrets in a folder or file. It does not touch a secret that has the same value already,\n" +
			"so to finish an interrupted import, run it again. A secret that has another value is an error, unless\n" +
			"--update replaces it or --skip-existing keeps it. The exit status is 1 if anything failed. What import has\n" +
			"written is on standard error, with its version.\n\n" +
			"--from-dir    Each file is a secret, byte for byte; its path is the secret's path. \"@secret\" at the end of a\n" +
			"              name is dropped: team@secret is the secret team. With the index that export, recover and reinit\n" +
			"              --wipe write (index.json or @index.json), kind, description and labels are restored. Without\n" +
			"              it, a value is text if it is UTF-8 without NUL bytes.\n" +
			"--from-json   {\"team/db\": {\"value\": \"...\"}, \"team/key\": {\"value_base64\": \"...\", \"description\": \"...\", \"labels\": []}}\n" +
			"--from-dotenv NAME=VALUE lines, quoted as in a shell; nothing is expanded. Each NAME is a secret.",
		Example: "  secretstore import --from-dir secrets --under team --dry-run\n" +
			"  gpg --decrypt backup.tar.pgp | tar -x -C restored && secretstore import --from-dir restored\n" +
			"  gpg --decrypt secrets.json.pgp | secretstore import --from-json - --skip-existing\n" +
			"  secretstore import --from-dotenv .env --under team/app --update",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&flags.dir, "from-dir", "", "import the files in the folder `DIR`")
	f.StringVar(&flags.json, "from-json", "", "import the JSON document in `FILE` (- is standard input)")
	f.StringVar(&flags.dotenv, "from-dotenv", "", "import the NAME=VALUE lines in `FILE` (- is standard input)")
	f.StringVar(&flags.under, "under", "", "put all secrets below `PATH`")
	f.BoolVar(&flags.update, "update", false, "replace values that differ")
	f.BoolVar(&flags.skip, "skip-existing", false, "skip secrets that exist")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only show what import would do")
	cmd.MarkFlagsMutuallyExclusive("from-dir", "from-json", "from-dotenv")
	cmd.MarkFlagsOneRequired("from-dir", "from-json", "from-dotenv")
	cmd.MarkFlagsMutuallyExclusive("update", "skip-existing")
	return flags.command(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
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
	im := &importing{flags: i, c: c, report: importReport{DryRun: i.dryRun, Failed: []failed{}, Written: []base.Result{}}}
	for _, path := range missing {
		im.report.Failed = append(im.report.Failed, failed{path, "is damaged in the backup, which has no value for it"})
	}
	err = im.all(ctx, p, all)
	im.report.sort()
	if e := im.report.print(p, asJSON); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%w\nThe rest was not imported; run the same command again to continue", err)
	}
	return printFailed(p, im.report.Failed, "imported")
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
	name := base.First(i.json, i.dotenv)
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
	folder, err := acl.ParseFolder(url.PathEscape(i.under))
	if err != nil {
		return nil, base.Usagef("--under: %s", base.BadPath)
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
	mu     sync.Mutex
	report importReport // guarded by mu
}

// all imports all secrets. It returns an error that would repeat for every secret;
// an error of one secret goes into the report.
func (im *importing) all(ctx context.Context, p *base.Process, all []forms.Source) error {
	line := base.NewProgress(p)
	defer line.End()
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	n := 0
	for _, s := range all {
		if running.Err() != nil {
			break
		}
		g.Go(func() error {
			got, err := im.one(running, s)
			if hopeless(err) || err != nil && running.Err() != nil {
				return err
			}
			im.mu.Lock()
			defer im.mu.Unlock()
			im.report.add(s.Path, got, err)
			n++
			line.Bar(n, len(all))
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
	item, err := s.Read()
	if err != nil {
		return result{}, err
	}
	defer clear(item.Value)
	item.Path = s.Path
	err = im.flags.patiently(ctx, func(ctx context.Context) error {
		got, err = im.try(ctx, item)
		return err
	})
	return got, err
}

// Errors that import finds itself.
var (
	errDiffers    = errors.New("exists with another value; replace it with --update, or keep it with --skip-existing")
	errUnreadable = errors.New("exists, and you may not read it to compare; replace it with --update, or keep it with --skip-existing")
)

// try reads the secret before it writes, so that it can be repeated when the outcome
// of a write is unknown.
func (im *importing) try(ctx context.Context, item forms.Item) (result, error) {
	old, err := im.c.GetWhole(ctx, item.Path)
	switch {
	case err == nil && same(old, item):
		return result{outcome: unchanged}, nil
	case err == nil:
		return im.replace(ctx, item, im.ifStill(old), errDiffers)
	case !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrDenied):
		return result{}, err
	case im.flags.dryRun:
		return result{outcome: created}, nil
	}
	w, err := im.c.Create(ctx, item.Path, valueOf(item))
	if errors.Is(err, client.ErrExists) {
		return im.replace(ctx, item, im.c, errUnreadable) // or somebody else just created it
	}
	return result{created, w.Version}, err
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
	w, err := by.Update(ctx, item.Path, valueOf(item))
	return result{updated, w.Version}, err
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
