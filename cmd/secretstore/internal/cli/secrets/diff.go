package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/linediff"
)

func diffCommand(p *base.Process) *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "diff PATH[@N] [PATH[@N]] [--show]",
		Short: "Compare two versions of a secret, or two secrets",
		Long: "diff compares two values line by line. PATH is the current value, and PATH@N version N. Alone, PATH is\n" +
			"compared with the version before it, and PATH@N with the current one. The lines are masked unless --show\n" +
			"is given. For binary values, diff prints size and SHA-256. If the values are the same, it prints nothing;\n" +
			"the exit status is 0 in both cases.",
		Example: "  secretstore diff team/db-password\n" +
			"  secretstore diff team/config@3 team/config@5 --show\n" +
			"  secretstore diff team/config other/config",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return base.Usagef("name the PATH of the secret")
			}
			return base.MaxArgs(2)(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the lines of the values")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		old, latest, err := sides(ctx, c, args)
		if err != nil {
			return err
		}
		for _, s := range []*side{&old, &latest} {
			if err := s.read(ctx, c); err != nil {
				return err
			}
		}
		text := compare(old, latest, show)
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, comparison{old, latest, bytes.Equal(old.value, latest.value), string(text)})
		}
		if _, err := p.Stdout.Write(text); err != nil {
			return fmt.Errorf("write the difference: %w", err)
		}
		return nil
	})
}

// side is one of the two values.
type side struct {
	Path    string `json:"path"`
	Version uint64 `json:"version,omitempty"` // 0 is the current one
	Bytes   int    `json:"bytes"`
	// SHA256 is only of a binary value: that of a password would help to guess it.
	SHA256 string `json:"sha256,omitempty"`
	value  []byte
}

// comparison is what diff --json prints.
type comparison struct {
	Old  side   `json:"old"`
	New  side   `json:"new"`
	Same bool   `json:"same"`
	Diff string `json:"diff"`
}

func (s *side) name() string {
	if s.Version == 0 {
		return s.Path
	}
	return fmt.Sprintf("%s@%d", s.Path, s.Version)
}

// sides returns what to compare, not yet read.
func sides(ctx context.Context, c *client.Client, args []string) (old, latest side, err error) {
	if old, err = parseSide(args[0]); err != nil {
		return old, latest, err
	}
	if len(args) == 2 {
		latest, err = parseSide(args[1])
		return old, latest, err
	}
	latest = side{Path: old.Path}
	if old.Version != 0 {
		return old, latest, nil
	}
	versions, err := versionsOf(ctx, c, old.Path)
	switch {
	case err != nil:
		return old, latest, err
	case len(versions.Versions) < 2:
		return old, latest, errors.New("no earlier version of the secret is kept")
	}
	old.Version, latest.Version = versions.Versions[1].Version, versions.Versions[0].Version
	return old, latest, nil
}

// parseSide reads PATH or PATH@N. No path contains @.
func parseSide(arg string) (s side, err error) {
	name, version, found := strings.Cut(arg, "@")
	if s.Path, err = base.SecretPath(name); err != nil || !found {
		return s, err
	}
	if s.Version, err = strconv.ParseUint(version, 10, 63); err != nil || s.Version == 0 {
		return s, base.Usagef("the version after @ is a number from 1; see: secretstore history %s", s.Path)
	}
	return s, nil
}

func (s *side) read(ctx context.Context, c *client.Client) error {
	got, err := c.Get(ctx, s.Path, client.GetOptions{Version: s.Version})
	if errors.Is(err, client.ErrNotFound) {
		err = explainMissing(ctx, c, s.Path, err)
	}
	if err != nil {
		return err
	}
	s.value, s.Bytes = got.Value, len(got.Value)
	if !printable(s.value) {
		sum := sha256.Sum256(s.value)
		s.SHA256 = hex.EncodeToString(sum[:])
	}
	return nil
}

// compare returns the difference for people, empty if there is none.
func compare(old, latest side, show bool) []byte {
	if bytes.Equal(old.value, latest.value) {
		return nil
	}
	if old.SHA256 != "" || latest.SHA256 != "" {
		return fmt.Appendf(nil, "--- %s: %s\n+++ %s: %s\n", old.name(), old.summary(), latest.name(), latest.summary())
	}
	text := linediff.Compare(old.name(), old.value, latest.name(), latest.value)
	if show {
		return text
	}
	return linediff.Mask(text)
}

func (s *side) summary() string {
	if s.SHA256 == "" {
		return fmt.Sprintf("text, %d bytes", s.Bytes)
	}
	return fmt.Sprintf("binary, %d bytes, SHA-256 %s", s.Bytes, s.SHA256)
}
