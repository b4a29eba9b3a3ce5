package backups

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/bulk"
	"secretstore/cmd/secretstore/internal/cli/storage"
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
	other    bool
	dryRun   bool
}

func (o *partFlags) register(p *base.Process, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "restore the secret or folder `PATH` into the running store (/ is all secrets)")
	f.StringVar(&o.as, "as", "", "put it at `PATH` instead")
	f.Uint64Var(&o.version, "version", 0, "restore version `N` of the secret, instead of the newest one")
	f.BoolVar(&o.other, "into-other-store", false, "the running store is another one: bring secrets there with their history")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what --path or --into-other-store would do")
	o.keys.register(cmd)
	o.remote.Register(cmd)
	f.Lookup("timeout").Usage = "give up if one secret takes longer than `DURATION`"
	cmd.MarkFlagsMutuallyExclusive("storage", "path")
	cmd.MarkFlagsMutuallyExclusive("storage", "into-other-store")
	cmd.MarkFlagsMutuallyExclusive("version", "into-other-store")
}

// given reports whether secrets go into a running store.
func (o *partFlags) given(cmd *cobra.Command) bool { return cmd.Flags().Changed("path") || o.other }

// unused refuses flags that mean nothing without --path.
func (o *partFlags) unused(cmd *cobra.Command) error {
	for _, name := range []string{"as", "version", "dry-run"} {
		if cmd.Flags().Changed(name) {
			return base.Usagef("--%s needs --path or --into-other-store", name)
		}
	}
	return nil
}

// run writes secrets of a backup into the running store, over the API.
func (o *partFlags) run(ctx context.Context, p *base.Process, cmd *cobra.Command, file string) error {
	from, err := base.Folder("--path", o.path)
	if err != nil {
		return err
	}
	to := from
	if cmd.Flags().Changed("as") {
		if to, err = base.Folder("--as", o.as); err != nil {
			return err
		}
	}
	o.remote.Reread = true
	c, err := o.remote.Connect(p)
	if err != nil {
		return err
	}
	defer c.Close()
	return storage.WithBackup(p, file, func(_ string, b *seal.Backup) (err error) {
		if err := o.checkStore(ctx, c, b); err != nil {
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
		if o.other {
			return r.RunWhole(ctx, p, c, wholes(st, found))
		}
		return r.Run(ctx, p, c, sources(st, found, o.version))
	})
}

// checkStore refuses a backup of another store than the running one, unless the user
// says that it is: the secrets may be those of another environment.
func (o *partFlags) checkStore(ctx context.Context, c *client.Client, b *seal.Backup) error {
	ctx, cancel := context.WithTimeout(ctx, o.remote.Timeout)
	defer cancel()
	running, err := c.Status(ctx)
	switch {
	case err != nil:
		return err
	case running.UUID == "":
		return client.ErrUninitialized
	case running.UUID == b.Store && o.other:
		return fmt.Errorf("the backup is of the store %s, which the server serves; use --path without --into-other-store", b.Store)
	case running.UUID != b.Store && !o.other:
		return fmt.Errorf("the backup is of the store %s, but the server serves the store %s; if you mean that one, add --into-other-store", b.Store, running.UUID)
	}
	return nil
}

// secret is one secret of a backup, and where it goes.
type secret struct {
	path acl.Path
	to   string
}

// find returns the secrets at and below from, which go to the same places at and
// below to; deleted ones too if they go into another store.
func (o *partFlags) find(ctx context.Context, st *seal.Store, from, to acl.Path) (found []secret, damaged []string, err error) {
	names := []string{from.String()}
	if o.version == 0 {
		incomplete := false
		if names, incomplete, err = offline.Paths(ctx, st, from); err != nil {
			return nil, nil, err
		}
		if o.other {
			deleted, skipped, err := deletedBelow(ctx, st, from)
			if err != nil {
				return nil, nil, err
			}
			names, incomplete = append(names, deleted...), incomplete || skipped
		}
		if incomplete {
			damaged = damagedRecords(st)
		}
	} else if from.IsRoot() {
		return nil, nil, base.Usagef("--version needs the --path of one secret")
	}
	if len(names)+len(damaged) == 0 {
		return nil, nil, fmt.Errorf("the backup has no secret at or below %s", display(from))
	}
	for _, name := range names {
		path, err := acl.ParsePath(name)
		if err != nil {
			return nil, nil, fmt.Errorf("internal error: the backup lists %q: %w", name, err)
		}
		place, err := moved(name, from, to)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, secret{path, place})
	}
	return found, damaged, nil
}

// deletedBelow returns the paths of the deleted secrets at and below a folder that
// could be undeleted. skipped: there are damaged records.
func deletedBelow(ctx context.Context, st *seal.Store, from acl.Path) (all []string, skipped bool, err error) {
	if !from.IsRoot() {
		switch v, err := st.Versions(ctx, from, store.Latest); {
		case err == nil && !v.Deleted.IsZero():
			all = append(all, from.String())
		case err != nil && !errors.Is(err, seal.ErrNotFound) && !errors.Is(err, seal.ErrCorrupt):
			return nil, false, err
		}
	}
	for after := ""; ; {
		page, err := st.ListDeleted(ctx, from, seal.Page{After: after}, store.Cached)
		if err != nil {
			return nil, false, fmt.Errorf("list the deleted secrets: %w", err)
		}
		for _, name := range page.Names {
			all = append(all, path.Join(from.String(), name))
		}
		skipped = skipped || page.Incomplete
		if after = page.Next; after == "" {
			return all, skipped, nil
		}
	}
}

// damagedRecords names the records that a list has skipped, as far as it is known.
func damagedRecords(st *seal.Store) []string {
	var all []string
	for _, record := range st.Damage().First {
		all = append(all, record.Key)
	}
	if len(all) == 0 {
		return []string{"a record"}
	}
	return all
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
		return "", base.Usagef("%s cannot be restored to %s: that is not a valid secret path, or is too long", name, display(to))
	}
	return path, nil
}

// sources reads values of a backup, in one version, 0 for the newest.
func sources(st *seal.Store, found []secret, version uint64) []forms.Source {
	var all []forms.Source
	for _, f := range found {
		all = append(all, forms.Source{Path: f.to, Read: func(ctx context.Context) (forms.Item, error) {
			s, err := st.Read(ctx, f.path, store.Latest, seal.ReadOptions{Version: version})
			switch {
			case errors.Is(err, seal.ErrNotFound) && version != 0:
				return forms.Item{}, fmt.Errorf("is not in the backup in version %d", version)
			case err != nil:
				return forms.Item{}, fmt.Errorf("is damaged in the backup: %w", err)
			}
			labels := append([]string{}, s.Labels...)
			return forms.Item{Value: s.Value, Binary: s.Kind == seal.Binary, Description: &s.Description, Labels: &labels}, nil
		}})
	}
	return all
}

// wholes reads secrets of a backup with their history.
func wholes(st *seal.Store, found []secret) []bulk.WholeSource {
	var all []bulk.WholeSource
	for _, f := range found {
		all = append(all, bulk.WholeSource{Path: f.to, Read: func(ctx context.Context) (wire.WholeSecret, error) {
			s, err := st.Whole(ctx, f.path)
			if err != nil {
				return wire.WholeSecret{}, fmt.Errorf("is damaged in the backup: %w", err)
			}
			doc := wire.WholeSecret{Description: s.Description, Labels: s.Labels, Author: s.Author, Created: s.Created, Deleted: s.Deleted}
			for _, v := range s.Versions {
				kind := "text"
				if v.Kind == seal.Binary {
					kind = "binary"
				}
				doc.Versions = append(doc.Versions, wire.WholeVersion{Version: v.Version, Kind: kind, Value: v.Value, Written: v.Written})
			}
			return doc, nil
		}})
	}
	return all
}

// partHelp is what the help of restore says about these flags.
const partHelp = "--path brings secrets, and nothing else, from a backup back into the running store: one secret, or all at and\n" +
	"below a folder; --as puts them elsewhere. Each becomes a new version of the secret that is there now, with the\n" +
	"type, description and labels that it had; one that has the same value already is skipped. --version takes an\n" +
	"earlier version of one secret. restore writes with your permissions, and prints a result for each secret; the\n" +
	"exit status is 1 if one was refused.\n\n" +
	"--into-other-store is for the server of another store, which has other keys. It brings all secrets, or those of\n" +
	"--path, with their versions, version numbers, times and authors, and deleted ones as deleted secrets. It replaces\n" +
	"nothing: a secret that exists with another value is refused. Only superusers can do it. It leaves out users,\n" +
	"groups and grants, makes new ETags, and keeps as many earlier versions as the servers there do (--keep-versions)."
