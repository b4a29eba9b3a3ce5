package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func checkCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check whether apps, pods and jobs would get their secrets",
		Long: "check reads definitions of Marathon apps and pods and of Metronome jobs. Each FILE contains one definition\n" +
			"or an array of them, in JSON; - is standard input. For each secret in them, check asks the server whether\n" +
			"it exists, is in a space of the service, and fits where the task uses it. It shows no values. It needs the\n" +
			"permission of a scheduler: read on dcos:secrets:resolve:default:/SERVICE, or on each secret.\n\n" +
			"The exit status is 1 if a deployment would fail, and 0 if there are only warnings.",
		Example: "  secretstore check app.json pod.json\n" +
			"  curl -s http://marathon.mesos:8080/v2/apps | jq .apps | secretstore check -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return base.Usagef("name the FILE with the definition (- is standard input)")
			}
			return nil
		},
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		found := []fileFinding{}
		for _, name := range args {
			file, err := base.ReadText(p, name)
			if err != nil {
				return err
			}
			all, err := check(ctx, c, file)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, f := range all {
				found = append(found, fileFinding{name, f})
			}
		}
		if err := printFindings(p, cmd, found, len(args)); err != nil {
			return err
		}
		return failing(found)
	})
}

// fileFinding is a finding in a file.
type fileFinding struct {
	File string `json:"file"`
	wire.Finding
}

// check asks the server about one file, in as many requests as needed. A definition
// that the server cannot read is a finding, for a scheduler cannot read it either.
func check(ctx context.Context, c *client.Client, file []byte) ([]wire.Finding, error) {
	var found []wire.Finding
	for _, b := range batches(file) {
		all, err := c.Check(ctx, b.definitions)
		var refused *client.Error
		switch {
		case errors.As(err, &refused) && (errors.Is(err, client.ErrBadRequest) || errors.Is(err, client.ErrTooLarge)):
			all = []wire.Finding{{Severity: wire.SeverityError, Where: b.where, Problem: refused.Description, Mend: "correct the file"}}
		case err != nil:
			return nil, naming(err, servicesIn(b.definitions)...)
		}
		found = append(found, all...)
	}
	return found, nil
}

// batch is the content of one request.
type batch struct {
	definitions []byte
	where       string
}

// batchSize is how many definitions of an array are sent at once. A server takes
// 1 MiB; all apps of a cluster can be larger.
const batchSize = 50

// batches splits a long array. Everything else, mistakes included, is left to the
// server.
func batches(file []byte) []batch {
	var items []json.RawMessage
	if json.Unmarshal(file, &items) != nil || len(items) <= batchSize {
		return []batch{{file, "the file"}}
	}
	var all []batch
	for from := 0; from < len(items); from += batchSize {
		to := min(from+batchSize, len(items))
		body := []byte{'['}
		for i, item := range items[from:to] {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, item...)
		}
		all = append(all, batch{append(body, ']'), fmt.Sprintf("definitions %d to %d of the file", from+1, to)})
	}
	return all
}

// failing returns an error if there are findings other than warnings.
func failing(found []fileFinding) error {
	n := 0
	for _, f := range found {
		if f.Severity != wire.SeverityWarning {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("a deployment would fail: %d error(s)", n)
}

func printFindings(p *base.Process, cmd *cobra.Command, found []fileFinding, files int) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(p.Stdout, struct {
			Findings []fileFinding `json:"findings"`
		}{found})
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "All tasks would get their secrets.")
		return err
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	if files > 1 {
		fmt.Fprint(w, "FILE\t")
	}
	fmt.Fprintln(w, "SEVERITY\tSERVICE\tSECRET\tWHERE\tPROBLEM\tWHAT TO DO")
	for _, f := range found {
		if files > 1 {
			fmt.Fprintf(w, "%s\t", base.OneLine(f.File))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", base.OneLine(f.Severity), cmp.Or(base.OneLine(f.Service), "-"), cmp.Or(base.OneLine(f.Source), base.OneLine(f.Secret), "-"),
			base.OneLine(f.Where), base.OneLine(f.Problem), base.OneLine(f.Mend))
	}
	return w.Flush()
}
