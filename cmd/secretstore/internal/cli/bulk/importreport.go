package bulk

import (
	"fmt"
	"slices"
	"strings"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/migrate"
)

// importReport says what import did or, with --dry-run, would do.
type importReport struct {
	DryRun    bool     `json:"dry_run"`
	Created   []string `json:"created"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Skipped   []string `json:"skipped"`
	Failed    []failed `json:"failed"`
	// Written has what Created and Updated have, with the versions.
	Written []base.Result `json:"written"`
	// Source is what another store holds; nil for files of our own.
	Source *migrate.Report `json:"source,omitempty"`
	// listUnchanged has print name the secrets that are Unchanged.
	listUnchanged bool
}

func (r *importReport) fail(all []migrate.Failure) {
	for _, f := range all {
		r.Failed = append(r.Failed, failed{f.Name, f.Why})
	}
}

func (r *importReport) add(path string, got result, err error) {
	if err != nil {
		r.Failed = append(r.Failed, failed{path, err.Error()})
		return
	}
	list := map[outcome]*[]string{created: &r.Created, updated: &r.Updated, unchanged: &r.Unchanged, skipped: &r.Skipped}[got.outcome]
	*list = append(*list, path)
	switch {
	case r.DryRun:
	case got.outcome == created:
		r.Written = append(r.Written, base.Result{Action: "created", Path: path, Version: got.version})
	case got.outcome == updated:
		r.Written = append(r.Written, base.Result{Action: "replaced", Path: path, Version: got.version})
	}
}

func (r *importReport) sort() {
	for _, list := range []*[]string{&r.Created, &r.Updated, &r.Unchanged, &r.Skipped} {
		if *list == nil {
			*list = []string{}
		}
		slices.Sort(*list)
	}
	slices.SortFunc(r.Written, func(a, b base.Result) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(r.Failed, func(a, b failed) int { return strings.Compare(a.Path, b.Path) })
}

func (r *importReport) print(p *base.Process, asJSON bool) error {
	if asJSON {
		return base.PrintJSON(p.Stdout, r)
	}
	would := ""
	if r.DryRun {
		would = "would be "
		for _, part := range []struct {
			verb  string
			paths []string
		}{{"create", r.Created}, {"update", r.Updated}, {"skip", r.Skipped}} {
			for _, path := range part.paths {
				fmt.Fprintf(p.Stdout, "%s %s\n", part.verb, path)
			}
		}
	}
	if r.listUnchanged {
		for _, path := range r.Unchanged {
			fmt.Fprintf(p.Stderr, "unchanged %s\n", path)
		}
	}
	for _, done := range r.Written {
		fmt.Fprintln(p.Stderr, done)
	}
	_, err := fmt.Fprintf(p.Stdout, "%[2]d %[1]screated, %[3]d %[1]supdated; %[4]d unchanged, %[5]d skipped, %[6]d failed\n",
		would, len(r.Created), len(r.Updated), len(r.Unchanged), len(r.Skipped), len(r.Failed))
	return err
}

// result is what import did with a secret, and the version that it wrote, if any.
type result struct {
	outcome outcome
	version uint64 // 0 if a server of an older release does not say it
}

// outcome is what import did with a secret.
type outcome uint8

const (
	created outcome = iota + 1
	updated
	unchanged
	skipped
)
