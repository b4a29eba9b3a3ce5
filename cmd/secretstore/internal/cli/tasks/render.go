package tasks

import (
	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

func renderCommand(p *base.Process) *cobra.Command {
	var flags deliveryFlags
	cmd := &cobra.Command{
		Use:   "render [--file DEST=PATH]... [--template [DEST=]FILE]... [--definition FILE]",
		Short: "Write secrets to files",
		Long: "render fetches all secrets in one request and writes them to files, as exec does. Each file is replaced as\n" +
			"a whole, has mode 0400, and must be on a tmpfs (/dev/shm, /run) unless --allow-disk is given. Its path must\n" +
			"not lead through a symbolic link, a folder of another user, or one that everybody can write to. If render\n" +
			"cannot get one of the secrets, it writes no file.\n\n" +
			"--template fills in a text in the syntax of Go's text/template, and writes it to DEST, or to standard\n" +
			"output. Three functions can be used, and no others:\n" +
			"  secret \"PATH\"      the value\n" +
			"  secretJSON \"PATH\"  a value in JSON, as in {{(secretJSON \"team/app/db\").user}}\n" +
			"  base64            its argument in base64, as in {{secret \"team/app/key\" | base64}}\n" +
			"A missing secret or field is an error. The output can have at most 16 MiB.",
		Example: "  secretstore render --file /run/app/tls.key=team/app/tls-key --service /team/app\n" +
			"  secretstore render --file /run/app/password=team/app/db --file-owner 1000:1000 --service /team/app\n" +
			"  secretstore render --template /run/app/app.conf=app.conf.tmpl --service /team/app",
		Args: base.NoArgs,
	}
	flags.register(p, cmd)
	cmd.RunE = base.Run(func(cmd *cobra.Command, _ []string) error {
		what, err := flags.read(cmd, p)
		if err != nil {
			return err
		}
		if err := what.noVariables(); err != nil {
			return err
		}
		q, done, err := flags.question(p, what)
		if err != nil {
			return err
		}
		defer done()
		got, err := flags.first(p, q)
		if err != nil {
			return err
		}
		if _, err = placeWhole(got.files.Place); err != nil || !what.hasOutput() {
			return err
		}
		_, err = p.Stdout.Write(got.out)
		return err
	})
	return cmd
}
