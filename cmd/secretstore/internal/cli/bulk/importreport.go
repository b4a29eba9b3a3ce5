package bulk

import (
	"fmt"
	"slices"
	"strings"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// importReport says what import did or, with --dry-run, would do.
type importReport struct {
	DryRun    bool     `json:"dry_run"`
	Created   []string `json:"created"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Skipped   []string `json:"skipped"`
	Failed    []failed `json:"failed"`
}

func (r *importReport) add(path string, o outcome, err error) {
	if err != nil {
		r.Failed = append(r.Failed, failed{path, err.Error()})
		return
	}
	list := map[outcome]*[]string{created: &r.Created, updated: &r.Updated, unchanged: &r.Unchanged, skipped: &r.Skipped}[o]
	*list = append(*list, path)
}

func (r *importReport) sort() {
	for _, list := range []*[]string{&r.Created, &r.Updated, &r.Unchanged, &r.Skipped} {
		if *list == nil {
			*list = []string{}
		}
		slices.Sort(*list)
	}
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
	_, err := fmt.Fprintf(p.Stdout, "%[2]d %[1]screated, %[3]d %[1]supdated; %[4]d unchanged, %[5]d skipped, %[6]d failed\n",
		would, len(r.Created), len(r.Updated), len(r.Unchanged), len(r.Skipped), len(r.Failed))
	return err
}

// outcome is what import did with a secret.
type outcome uint8

const (
	created outcome = iota + 1
	updated
	unchanged
	skipped
)
