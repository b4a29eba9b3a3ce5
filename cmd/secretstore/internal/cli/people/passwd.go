package people

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// passwd is the command that changes a password.
type passwd struct {
	base.Remote
	p              *base.Process
	file, presents string // FILE
}

func passwdCommand(p *base.Process) *cobra.Command {
	w := &passwd{p: p}
	cmd := &cobra.Command{Use: "passwd [UID]", Short: "Change your password, or give another user a new one",
		Long: "passwd changes your own password: it asks for the present one, and twice for the new one. With the UID of\n" +
			"another account it asks for the new one only; that is for superusers. It ends all tokens of the account.\n\n" +
			"Without a terminal it reads the two passwords from standard input, a line each, or from the files that\n" +
			"--present-password-file and --password-file name.",
		Example: "  secretstore users passwd\n  secretstore users passwd alice", Args: base.MaxArgs(1)}
	cmd.Flags().StringVar(&w.presents, "present-password-file", "", "`FILE` with your present password; - is standard input")
	cmd.Flags().StringVar(&w.file, "password-file", "", "`FILE` with the new password; - is standard input")
	return w.Command(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		return explained(w.run(ctx, c, cmd, args))
	})
}

func (w *passwd) run(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
	me, err := w.TokenInUse(w.p)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] != me.UID && w.presents != "":
		return base.Usagef("--present-password-file is for your own password")
	case len(args) == 1 && args[0] != me.UID:
		return w.ofOther(ctx, c, cmd, args[0])
	case me.Token == "":
		return &base.WithStatus{Status: base.ExitDenied, Err: errors.New("you are not signed in; sign in with: secretstore login UID")}
	case me.UID == "":
		return base.Usagef("your token does not name you; give the UID")
	}
	return w.own(ctx, c, cmd, me)
}

func (w *passwd) ofOther(ctx context.Context, c *client.Client, cmd *cobra.Command, uid string) error {
	password, err := passwordFrom(ctx, w.p, w.file, newPasswordOf(uid), "The same again: ")
	if err != nil {
		return err
	}
	defer clear(password)
	if err := c.Identities().UpdateUser(ctx, uid, wire.UserUpdate{Password: password}); err != nil {
		return err
	}
	return done(w.p, cmd, changed{"changed", uid}, "changed the password of %s", base.OneLine(uid))
}

func newPasswordOf(uid string) string {
	return fmt.Sprintf("New password of %s (not shown): ", base.OneLine(uid))
}

func (w *passwd) own(ctx context.Context, c *client.Client, cmd *cobra.Command, me base.TokenInUse) error {
	present, password, err := w.both(ctx, me.UID)
	defer clear(present)
	defer clear(password)
	if err != nil {
		return err
	}
	err = c.Identities().ChangePassword(ctx, me.UID, present, password)
	if hasCode(err, "ERR_INVALID_CREDENTIALS") {
		return &base.WithStatus{Status: base.ExitDenied, Err: errors.New("the present password is wrong; nothing was changed")}
	}
	if err != nil {
		return err
	}
	return done(w.p, cmd, changed{"changed", me.UID}, "changed the password of %s, and ended all tokens; sign in again with: secretstore login", base.OneLine(me.UID))
}

// both returns the present and the new password.
func (w *passwd) both(ctx context.Context, uid string) (present, password wire.Password, err error) {
	if _, terminal := base.Terminal(w.p.Stdin); !terminal && w.presents == "" && w.file == "" {
		return w.twoLines()
	}
	present, err = passwordFrom(ctx, w.p, w.presents, fmt.Sprintf("Present password of %s (not shown): ", base.OneLine(uid)), "")
	if err != nil {
		return nil, nil, err
	}
	password, err = passwordFrom(ctx, w.p, w.file, newPasswordOf(uid), "The same again: ")
	return present, password, err
}

// twoLines reads both from standard input.
func (w *passwd) twoLines() (present, password wire.Password, err error) {
	data, err := base.ReadText(w.p, "-")
	if err != nil {
		return nil, nil, err
	}
	first, second, ok := bytes.Cut(data, []byte("\n"))
	first, second = bytes.TrimSuffix(first, []byte("\r")), bytes.TrimSuffix(bytes.TrimSuffix(second, []byte("\n")), []byte("\r"))
	if !ok || len(first) == 0 || len(second) == 0 || bytes.ContainsAny(second, "\r\n") {
		clear(data)
		return nil, nil, base.Usagef("standard input must have two lines, the present password and the new one")
	}
	return first, second, nil
}
