package bulk

import (
	"context"

	"secretstore/api/client"
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
	im := newImporting(&importFlags{bulkFlags: bulkFlags{remote: *r.Remote}, update: true, dryRun: r.DryRun}, c)
	im.verb, im.report.listUnchanged = "restored", true
	for _, path := range r.Damaged {
		im.report.Failed = append(im.report.Failed, failed{path, "is damaged in the backup"})
	}
	return im.finish(p, r.JSON, im.all(ctx, p, all))
}
