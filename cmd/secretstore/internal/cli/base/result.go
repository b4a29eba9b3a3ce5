package base

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Result says what a command did with a secret.
type Result struct {
	// Action is "created", "replaced", "deleted", "purged" or "restored".
	Action string `json:"action"`
	Path   string `json:"path"`
	// Version is the one that was written or restored; absent if there is none, or if
	// a server of an older release does not say it.
	Version uint64 `json:"version,omitempty"`
}

// Print writes the result to standard error, or as JSON to standard output.
func (r Result) Print(p *Process, cmd *cobra.Command) error {
	if WantJSON(cmd) {
		return PrintJSON(p.Stdout, r)
	}
	fmt.Fprintln(p.Stderr, r)
	return nil
}

// String returns the result as people read it.
func (r Result) String() string { return r.Action + " " + r.Path + VersionSuffix(r.Version) }

// VersionSuffix names a version at the end of a line, if it is known.
func VersionSuffix(version uint64) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(", version %d", version)
}
