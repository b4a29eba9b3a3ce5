package bulk

import (
	"context"
	"errors"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
)

// Restore is what restore does with the secrets of a backup.
type Restore struct {
	Remote *base.Remote // its timeout applies to each secret
	DryRun bool
	JSON   bool
	// Damaged are secrets of the backup that could not be read.
	Damaged []string
}

// Run writes each secret as a new version, unless the store has the same value
// already, and prints a result for each. It returns an error if one was refused.
func (r *Restore) Run(ctx context.Context, p *base.Process, c *client.Client, all []forms.Source) error {
	im := r.begin(c)
	return im.finish(p, r.JSON, im.all(ctx, p, all))
}

func (r *Restore) begin(c *client.Client) *importing {
	im := newImporting(&importFlags{bulkFlags: bulkFlags{remote: *r.Remote}, update: true, dryRun: r.DryRun}, c)
	im.verb, im.report.listUnchanged = "restored", true
	for _, path := range r.Damaged {
		im.report.Failed = append(im.report.Failed, failed{path, "is damaged in the backup"})
	}
	return im
}

// WholeSource is a secret with its history, which is read when it is needed.
type WholeSource struct {
	Path string
	Read func(context.Context) (wire.WholeSecret, error)
}

// RunWhole creates each secret with its history, unless the store has it already,
// and prints a result for each. It returns an error if one was refused.
func (r *Restore) RunWhole(ctx context.Context, p *base.Process, c *client.Client, all []WholeSource) error {
	im := r.begin(c)
	paths := make([]string, len(all))
	for i := range all {
		paths[i] = all[i].Path
	}
	return im.finish(p, r.JSON, im.each(ctx, p, paths, func(ctx context.Context, i int) (result, error) {
		return im.whole(ctx, all[i])
	}))
}

// Errors of secrets that are there already.
var (
	errOther        = errors.New("exists with another value, or other versions")
	errOtherDeleted = errors.New("another secret of this name was deleted there; purge it first")
)

func (im *importing) whole(ctx context.Context, s WholeSource) (got result, err error) {
	secret, err := s.Read(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() {
		for _, v := range secret.Versions {
			clear(v.Value)
		}
	}()
	err = im.flags.patiently(ctx, func(ctx context.Context) error {
		got, err = im.tryWhole(ctx, s.Path, secret)
		return err
	})
	return got, err
}

// tryWhole looks before it writes, so that it can be repeated when the outcome of a
// write is unknown.
func (im *importing) tryWhole(ctx context.Context, path string, s wire.WholeSecret) (result, error) {
	there, err := im.c.Versions(ctx, path)
	deleted := err == nil && there.Deleted != nil
	switch {
	case errors.Is(err, client.ErrNotFound), deleted && s.Deleted.IsZero():
	case err != nil:
		return result{}, err
	case deleted && there.Deleted.Equal(s.Deleted.Truncate(time.Second)) && sameVersions(there, s):
		return result{outcome: unchanged}, nil
	case deleted:
		return result{}, errOtherDeleted
	default:
		return im.compare(ctx, path, there, s)
	}
	if im.flags.dryRun {
		return result{outcome: created}, nil
	}
	w, err := im.c.CreateWhole(ctx, path, s)
	return result{created, w.Version}, err
}

// compare is for a secret that exists.
func (im *importing) compare(ctx context.Context, path string, there wire.Versions, s wire.WholeSecret) (result, error) {
	now, err := im.c.GetWhole(ctx, path)
	if err != nil {
		return result{}, err
	}
	defer clear(now.Value)
	newest := s.Versions[0]
	if s.Deleted.IsZero() && sameVersions(there, s) && same(now, forms.Item{Value: newest.Value, Binary: newest.Kind == "binary", Description: &s.Description, Labels: &s.Labels}) {
		return result{outcome: unchanged}, nil
	}
	return result{}, errOther
}

// sameVersions reports whether there are the versions of s, perhaps without the
// oldest, which a store with a shorter history does not keep.
func sameVersions(there wire.Versions, s wire.WholeSecret) bool {
	if len(there.Versions) > len(s.Versions) {
		return false
	}
	for i, v := range there.Versions {
		want := s.Versions[i]
		written := v.Written == nil && want.Written.IsZero() || v.Written != nil && v.Written.Equal(want.Written.Truncate(time.Second))
		if v.Version != want.Version || v.Kind != want.Kind || v.Bytes != uint64(len(want.Value)) || !written {
			return false
		}
	}
	return true
}
