package tasks

import (
	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

func renderCommand(p *base.Process) *cobra.Command {
	var flags deliveryFlags
	cmd := &cobra.Command{
		Use:   "render [--file DEST=PATH]... [--definition FILE]",
		Short: "Write secrets to files",
		Long: "render fetches all secrets in one request and writes them to files, as exec does. Each file is replaced as\n" +
			"a whole, has mode 0400, and must be on a tmpfs (/dev/shm, /run) unless --allow-disk is given. Its path must\n" +
			"not lead through a symbolic link, a folder of another user, or one that everybody can write to. If render\n" +
			"cannot get one of the secrets, it writes no file.",
		Example: "  secretstore render --file /run/app/tls.key=team/app/tls-key --service /team/app\n" +
			"  secretstore render --file /run/app/password=team/app/db --file-owner 1000:1000 --service /team/app",
		Args: base.NoArgs,
	}
	flags.register(cmd)
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
		_, err = placeWhole(got.files.Place)
		return err
	})
	return cmd
}
