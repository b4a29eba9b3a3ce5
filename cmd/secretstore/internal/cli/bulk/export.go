package bulk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/seal/pgp"
)

// exportFlags are the flags of export.
type exportFlags struct {
	bulkFlags
	out       string
	dotenv    bool
	plaintext bool
	keys      []string
	missing   base.Incomplete
}

func exportCommand(p *base.Process) *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:   "export [PATH] (--pgp-key FILE... | --plaintext) [--json | --dotenv] [-o DIR|FILE]",
		Short: "Export the secrets below a path",
		Long: "export writes the secret PATH and all secrets below it, or all secrets, in a form that import reads. With\n" +
			"--pgp-key they are encrypted to the holders of GPG keys; with --plaintext anybody who gets them can read\n" +
			"them.\n\n" +
			"A folder tree:  -o DIR, which must be new or empty. Files have mode 0600, folders 0700. Each file has the\n" +
			"                name of its secret, followed by \"@secret\" if a folder has that name. index.json (or\n" +
			"                @index.json, if a secret has that name) describes the secrets. Encrypted, the tree is a tar\n" +
			"                file: gpg -d FILE | tar -x\n" +
			"--json          one document: {\"team/db\": {\"value\": \"...\"}}, with \"value_base64\" for a binary secret\n" +
			"--dotenv        NAME=VALUE lines, for the text secrets directly in PATH with the name of a variable\n\n" +
			"-o FILE has mode 0600, and exists only once it is complete. Its path must not lead through a symbolic link,\n" +
			"a folder of another user, or one that everybody can write to. Without -o, the document goes to standard\n" +
			"output. If some secrets cannot be read, export lists them at the end and exits with status 1. If the\n" +
			"server skips damaged records, so that secrets may be missing, export writes nothing and exits with\n" +
			"status 1 unless you add --allow-incomplete.",
		Example: "  gpg --export backup@example.com > backup.pub\n" +
			"  secretstore export --pgp-key backup.pub -o backup.tar.pgp\n" +
			"  secretstore export team --json --pgp-key backup.pub | ssh elsewhere 'cat > team.json.pgp'\n" +
			"  secretstore export team/app --dotenv --plaintext -o /dev/shm/app.env\n" +
			"  secretstore export team --plaintext -o /dev/shm/team",
		Args: base.MaxArgs(1),
	}
	f := cmd.Flags()
	f.StringVarP(&flags.out, "output", "o", "", "write to the folder `DIR`, or to a file")
	f.BoolVar(&flags.dotenv, "dotenv", false, "write NAME=VALUE lines")
	f.BoolVar(&flags.plaintext, "plaintext", false, "write the values unencrypted")
	flags.missing.Register(cmd)
	f.StringArrayVar(&flags.keys, "pgp-key", nil, "encrypt to the public key in `FILE`, made by gpg --export (repeatable)")
	cmd = flags.command(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		return flags.run(ctx, p, c, base.WantJSON(cmd), append(args, "")[0])
	})
	cmd.Flags().Lookup("json").Usage = "write one JSON document"
	cmd.MarkFlagsMutuallyExclusive("json", "dotenv")
	cmd.MarkFlagsMutuallyExclusive("plaintext", "pgp-key")
	cmd.MarkFlagsOneRequired("plaintext", "pgp-key")
	return cmd
}

func (e *exportFlags) run(ctx context.Context, p *base.Process, c *client.Client, asJSON bool, arg string) (err error) {
	scope, err := base.Folder("", arg)
	if err != nil {
		return err
	}
	tree := !asJSON && !e.dotenv
	if tree && e.plaintext && e.out == "" {
		return base.Usagef("name the folder with -o DIR, or use --json or --dotenv")
	}
	to, _, err := base.ReadPublicKeys(p, e.keys)
	if err != nil {
		return err
	}
	ex := &exporting{flags: e, c: c}
	paths, err := ex.list(ctx, p, scope)
	if err != nil {
		return err
	}
	if e.dotenv {
		if paths, err = variablesIn(scope, paths); err != nil {
			return err
		}
	}
	if tree && e.plaintext {
		return ex.toDir(ctx, p, paths)
	}
	out, err := openOutput(p, e.out)
	if err != nil {
		return err
	}
	defer out.discard()
	sink, finish, err := encrypted(out, to)
	if err != nil {
		return err
	}
	switch {
	case asJSON:
		err = ex.toJSON(ctx, p, paths, sink)
	case e.dotenv:
		err = ex.toDotenv(ctx, p, paths, sink)
	default:
		err = ex.toTar(ctx, p, paths, sink)
	}
	if err == nil {
		err = finish()
	}
	if err == nil {
		err = out.commit()
	}
	if err != nil {
		return err
	}
	return ex.finish(p)
}

// encrypted returns a writer that encrypts to the holders, or does not encrypt if
// there are none. finish ends the message; if it is in a file, it reads it back.
func encrypted(out *output, to []*pgp.PublicKey) (sink io.Writer, finish func() error, err error) {
	buffered := bufio.NewWriterSize(out, 1<<20)
	if len(to) == 0 {
		return buffered, buffered.Flush, nil
	}
	message, err := pgp.NewFileWriter(buffered, to)
	if err != nil {
		return nil, nil, err
	}
	return message, func() error {
		if err := errors.Join(message.Close(), buffered.Flush()); err != nil || out.f == nil {
			return err
		}
		return message.Verify(bufio.NewReaderSize(out.f.Content(), 1<<20))
	}, nil
}

// variablesIn checks that every path is the name of a variable directly in scope.
func variablesIn(scope acl.Path, paths []string) ([]string, error) {
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == scope.String() })
	for _, p := range paths {
		name := strings.TrimPrefix(strings.TrimPrefix(p, scope.String()), "/")
		if !forms.IsVariable(name) {
			return nil, fmt.Errorf("%s cannot be in a dotenv file, which only holds names like DB_PASSWORD; use --json", p)
		}
	}
	return paths, nil
}

// exporting is one run of export.
type exporting struct {
	flags  *exportFlags
	c      *client.Client
	failed []failed
	// incomplete: secrets may be missing from the list.
	incomplete bool
	// exported is the number of secrets that were written.
	exported int
}

// finish says what was exported, and returns an error if anything was not.
func (ex *exporting) finish(p *base.Process) error {
	fmt.Fprintf(p.Stderr, "exported %d secret(s)\n", ex.exported)
	return printFailed(p, ex.failed, "exported")
}

// list returns the sorted paths of the secrets at and below scope.
func (ex *exporting) list(ctx context.Context, p *base.Process, scope acl.Path) (paths []string, err error) {
	var names []string
	err = ex.flags.patiently(ctx, func(ctx context.Context) error {
		names, ex.incomplete, err = base.ListNames(ctx, ex.c, scope)
		return err
	})
	if err == nil {
		err = ex.flags.missing.Check(p, ex.incomplete)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		paths = append(paths, path.Join(scope.String(), name))
	}
	if !scope.IsRoot() {
		// The list does not say whether there is a secret with the name of the folder.
		switch s, err := ex.get(ctx, scope.String()); {
		case hopeless(err):
			return nil, err
		case errors.Is(err, client.ErrNotFound) && len(names) == 0:
			return nil, fmt.Errorf("no secret at or below %s: %w", scope, err)
		case errors.Is(err, client.ErrDenied) && len(names) == 0:
			return nil, err
		case !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrDenied):
			clear(s.Value)
			paths = append(paths, scope.String()) // if it is damaged, that is reported with the others
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func (ex *exporting) get(ctx context.Context, path string) (s client.Secret, err error) {
	err = ex.flags.patiently(ctx, func(ctx context.Context) error {
		s, err = ex.c.GetWhole(ctx, path)
		return err
	})
	return s, err
}

// inFlight is the largest number of values in memory.
const inFlight = 4 * atOnce

// each reads the secrets and calls put with each, in order. It notes the secrets that
// it cannot read and leaves out those that were deleted meanwhile.
func (ex *exporting) each(ctx context.Context, p *base.Process, paths []string, put func(path string, s client.Secret) error) error {
	line := base.NewProgress(p)
	defer line.End()
	done := 0
	for part := range slices.Chunk(paths, inFlight) {
		values := make([]client.Secret, len(part))
		errs := make([]error, len(part))
		var g errgroup.Group
		g.SetLimit(atOnce)
		for i, path := range part {
			g.Go(func() error {
				values[i], errs[i] = ex.get(ctx, path)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for i, path := range part {
			if err := ex.one(ctx, path, values[i], errs[i], put); err != nil {
				return err
			}
			clear(values[i].Value)
			done++
			line.Bar(done, len(paths))
		}
	}
	return nil
}

func (ex *exporting) one(ctx context.Context, path string, s client.Secret, err error, put func(path string, s client.Secret) error) error {
	switch {
	case err == nil:
		ex.exported++
		return put(path, s)
	case ctx.Err() != nil || hopeless(err):
		return err
	case !errors.Is(err, client.ErrNotFound):
		ex.failed = append(ex.failed, failed{path, err.Error()})
	}
	return nil
}
