package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/iam"
	"secretstore/iam/password"
)

func hashPasswordCommand(p *base.Process) *cobra.Command {
	var uid string
	cmd := &cobra.Command{
		Use:   "hash-password [--uid UID]",
		Short: "Hash a password for the file of superusers",
		Long: "hash-password prints the hash of a password (crypt(3), SHA-512), for a line of the file that\n" +
			"--superuser-password-file of the server names; with --uid, the whole line. On a terminal it asks twice,\n" +
			"without echo. Otherwise it reads standard input, whose last line break does not count.",
		Example: "  (umask 077 && secretstore hash-password --uid admin > superusers)\n" +
			"  secretstore hash-password < password",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 { // which it does not repeat
				return base.Usagef("every user of this machine can see a password among the arguments; give it on standard input")
			}
			return nil
		},
		RunE: base.Run(func(cmd *cobra.Command, _ []string) error {
			prefix := ""
			if cmd.Flags().Changed("uid") {
				parsed, err := iam.ParseUID(uid)
				if err != nil {
					return base.Usagef("--uid: %v", err)
				}
				prefix = string(parsed) + ":"
			}
			pass, err := newPassword(cmd.Context(), p)
			if err != nil {
				return err
			}
			defer clear(pass)
			_, err = fmt.Fprintln(p.Stdout, prefix+password.New(pass).String())
			return err
		}),
	}
	cmd.Flags().StringVar(&uid, "uid", "", "print the line of the user `UID`")
	return cmd
}

// newPassword reads a password, and checks the rules for one.
func newPassword(ctx context.Context, p *base.Process) ([]byte, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	var pass []byte
	var err error
	if fd, ok := base.Terminal(p.Stdin); ok {
		pass, err = base.PromptTwice(ctx, p, fd, "Password (not shown): ", "The same again: ")
	} else {
		pass, err = io.ReadAll(io.LimitReader(p.Stdin, password.MaxBytes+3))
		pass = bytes.TrimSuffix(bytes.TrimSuffix(pass, []byte{'\n'}), []byte{'\r'})
	}
	if err != nil {
		return nil, err
	}
	if err := iam.CheckPassword(pass); err != nil {
		return nil, base.Usagef("%v", err)
	}
	if len(pass) > password.MaxBytes {
		return nil, base.Usagef("the password is longer than %d bytes", password.MaxBytes)
	}
	if bytes.ContainsAny(pass, "\n\r") {
		return nil, base.Usagef("standard input has more than one line")
	}
	return pass, nil
}

// resetSteps is how to sign in again when no superuser can.
const resetSteps = `To sign in again when no superuser can, on one host, as the user of the server:

1. Choose a user id that nobody has, such as rescue, and add its line to a file:

   (umask 077 && secretstore hash-password --uid rescue >> /etc/secretstore/superusers)

2. If the server has no such file yet, add this to its options, and restart it.
   It notices changes to a file that it already has within seconds:

   --superuser-password-file /etc/secretstore/superusers

3. Sign in to this server as rescue, which is a superuser. Give a person's
   account a new password, or put another account into the group superusers.

4. Remove the line. That ends the tokens of rescue.

The command changes nothing. Anyone who can write that file is a superuser.
`

func resetSuperuserCommand(p *base.Process) *cobra.Command {
	return &cobra.Command{
		Use:   "reset-superuser",
		Short: "Print how to sign in when no superuser can",
		Long: "reset-superuser prints the steps that let a superuser sign in to a server with --iam builtin when nobody\n" +
			"knows the password of one. It contacts no server.",
		Example: "  secretstore reset-superuser",
		Args:    base.NoArgs,
		RunE: base.Run(func(*cobra.Command, []string) error {
			_, err := io.WriteString(p.Stdout, resetSteps)
			return err
		}),
	}
}
