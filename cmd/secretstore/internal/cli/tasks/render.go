package tasks

import (
	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

func renderCommand(p *base.Process) *cobra.Command {
	var flags deliveryFlags
	cmd := &cobra.Command{
		Use:   "render [--file DEST=PATH]... [--definition FILE]",
		Short: "Write secrets to files, all or none",
		Long: "render fetches all secrets in one request, writes the files as exec does, and ends: each is replaced as a whole,\n" +
			"with mode 0400, and only on a tmpfs (/dev/shm, /run) unless --allow-disk is given. If a secret cannot be had, no\n" +
			"file is written.",
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
		got, err := flags.first(p, q, what)
		if err != nil {
			return err
		}
		_, err = placeWhole(got.files.Place)
		return err
	})
	return cmd
}
