package backups

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/bulk"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/seal"
	"secretstore/store"
)

// partFlags are the flags of restore that bring secrets into a running store.
type partFlags struct {
	remote   base.Remote
	keys     keyFlags
	path, as string
	version  uint64
	dryRun   bool
}

func (o *partFlags) register(p *base.Process, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "restore the secret or folder `PATH` into the running store (/ is all secrets)")
	f.StringVar(&o.as, "as", "", "put it at `PATH` instead")
	f.Uint64Var(&o.version, "version", 0, "restore version `N` of the secret, instead of the newest one")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what --path would do")
	o.keys.register(cmd)
	o.remote.Register(cmd)
	f.Lookup("timeout").Usage = "give up if one secret takes longer than `DURATION`"
	cmd.MarkFlagsMutuallyExclusive("storage", "path")
}

// unused refuses flags that mean nothing without --path.
func (o *partFlags) unused(cmd *cobra.Command) error {
	for _, name := range []string{"as", "version", "dry-run"} {
		if cmd.Flags().Changed(name) {
			return base.Usagef("--%s needs --path", name)
		}
	}
	return nil
}

// folder reads a path of a secret or folder, as the user typed it.
func folder(flag, arg string) (acl.Path, error) {
	p, err := acl.ParseFolder(url.PathEscape(arg))
	if err != nil {
		return acl.Path{}, base.Usagef("%s: %s", flag, base.BadPath)
	}
	return p, nil
}

// run writes secrets of a backup into the running store, over the API.
func (o *partFlags) run(ctx context.Context, p *base.Process, cmd *cobra.Command, file string) error {
	from, err := folder("--path", o.path)
	if err != nil {
		return err
	}
	to := from
	if cmd.Flags().Changed("as") {
		if to, err = folder("--as", o.as); err != nil {
			return err
		}
	}
	o.remote.Reread = true
	c, err := o.remote.Connect(p)
	if err != nil {
		return err
	}
	defer c.Close()
	return withBackup(file, func(b *seal.Backup) (err error) {
		if err := o.sameStore(ctx, c, b); err != nil {
			return err
		}
		st, done, err := o.keys.open(ctx, p, cmd, b)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
		found, damaged, err := o.find(ctx, st, from, to)
		if err != nil {
			return err
		}
		r := bulk.Restore{Remote: &o.remote, DryRun: o.dryRun, JSON: base.WantJSON(cmd), Damaged: damaged}
		return r.Run(ctx, p, c, found)
	})
}

// sameStore refuses a backup of another store than the running one: its secrets may
// be those of another environment.
func (o *partFlags) sameStore(ctx context.Context, c *client.Client, b *seal.Backup) error {
	ctx, cancel := context.WithTimeout(ctx, o.remote.Timeout)
	defer cancel()
	running, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if running.UUID != b.Store {
		return fmt.Errorf("the backup is of the store %s, and the server serves the store %s", b.Store, running.UUID)
	}
	return nil
}

// find returns the secrets at and below from, as secrets at and below to.
func (o *partFlags) find(ctx context.Context, st *seal.Store, from, to acl.Path) (found []forms.Source, damaged []string, err error) {
	var paths []string
	switch {
	case o.version == 0:
		incomplete := false
		if paths, incomplete, err = offline.Paths(ctx, st, from); err != nil {
			return nil, nil, err
		}
		if incomplete {
			for _, record := range st.Damage().First {
				damaged = append(damaged, record.Key)
			}
			if len(damaged) == 0 {
				damaged = []string{"a record"}
			}
		}
	case from.IsRoot():
		return nil, nil, base.Usagef("--version needs the --path of one secret")
	default:
		paths = []string{from.String()}
	}
	if len(paths)+len(damaged) == 0 {
		return nil, nil, fmt.Errorf("the backup has no secret at or below %s", display(from))
	}
	for _, name := range paths {
		path, err := moved(name, from, to)
		if err != nil {
			return nil, nil, err
		}
		secret, err := acl.ParsePath(name)
		if err != nil {
			return nil, nil, fmt.Errorf("internal error: the backup lists %q: %w", name, err)
		}
		found = append(found, forms.Source{Path: path, Read: func(ctx context.Context) (forms.Item, error) { return o.read(ctx, st, secret) }})
	}
	return found, damaged, nil
}

// display names a folder for people.
func display(p acl.Path) string {
	if p.IsRoot() {
		return "/"
	}
	return p.String()
}

// moved returns where the secret with that name below from goes below to.
func moved(name string, from, to acl.Path) (string, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(name, from.String()), "/")
	path, err := base.SecretPath(strings.Trim(to.String()+"/"+rest, "/"))
	if err != nil {
		return "", base.Usagef("%s cannot be restored to %s: that is not a secret path, or too long", name, display(to))
	}
	return path, nil
}

// read reads a secret of the backup.
func (o *partFlags) read(ctx context.Context, st *seal.Store, path acl.Path) (forms.Item, error) {
	s, err := st.Read(ctx, path, store.Latest, seal.ReadOptions{Version: o.version})
	switch {
	case errors.Is(err, seal.ErrNotFound) && o.version != 0:
		return forms.Item{}, fmt.Errorf("is not in the backup in version %d", o.version)
	case err != nil:
		return forms.Item{}, fmt.Errorf("is damaged in the backup: %w", err)
	}
	labels := append([]string{}, s.Labels...)
	return forms.Item{Value: s.Value, Binary: s.Kind == seal.Binary, Description: &s.Description, Labels: &labels}, nil
}

// partHelp is what the help of restore says about these flags.
const partHelp = "--path brings secrets, and nothing else, from a backup back into the running store: one secret, or all at and\n" +
	"below a folder; --as puts them elsewhere. Each becomes a new version of the secret that is there now, with the\n" +
	"type, description and labels that it had; one that has the same value already is skipped. --version takes an\n" +
	"earlier version of one secret. restore writes with your permissions, and prints a result for each secret; the\n" +
	"exit status is 1 if one was refused."
