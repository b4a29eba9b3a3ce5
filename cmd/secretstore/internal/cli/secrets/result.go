package secrets

import (
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// result says what a command did with a secret.
type result struct {
	// Action is "created", "replaced", "deleted", "purged" or "restored".
	Action string `json:"action"`
	Path   string `json:"path"`
	// Version is the one that was written or restored; absent if there is none, or if
	// a server of an older release does not say it.
	Version uint64 `json:"version,omitempty"`
}

// print writes the result to standard error, or as JSON to standard output.
func (r result) print(p *base.Process, cmd *cobra.Command) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(p.Stdout, r)
	}
	fmt.Fprintf(p.Stderr, "%s %s%s\n", r.Action, r.Path, versionSuffix(r.Version))
	return nil
}

func versionSuffix(version uint64) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(", version %d", version)
}
