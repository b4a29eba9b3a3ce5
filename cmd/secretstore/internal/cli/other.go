package cli

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/version"
)

func tokenCommand(p *base.Process) *cobra.Command {
	var uid, secretFile, service string
	var exp time.Duration
	cmd := &cobra.Command{
		Use:   "token --uid UID --secret-file FILE [--exp DURATION]",
		Short: "Sign a token with the HS256 key of the server",
		Long: "token signs an HS256 token with the key that the server reads from --auth-secret-file, and prints it.\n" +
			"It contacts no server. Without --exp the token never expires.",
		Example: "  secretstore token --uid alice --secret-file auth-secret --exp 24h > alice.token\n" +
			"  secretstore get --token-file alice.token team/db-password",
		Args: base.NoArgs,
		RunE: base.Run(func(cmd *cobra.Command, _ []string) error {
			data, err := base.ReadText(p, secretFile)
			if err != nil {
				return err
			}
			var expires time.Time
			if cmd.Flags().Changed("exp") {
				if exp <= 0 {
					return base.Usagef("--exp must be in the future, for example 24h")
				}
				expires = time.Now().Add(exp)
			}
			raw, err := token.Sign(uid, expires, service, token.FirstLine(data))
			if err != nil {
				return base.Usagef("%v", err)
			}
			if base.WantJSON(cmd) {
				return base.PrintJSON(p.Stdout, map[string]string{"token": raw})
			}
			_, err = fmt.Fprintln(p.Stdout, raw)
			return err
		}),
	}
	f := cmd.Flags()
	f.StringVar(&uid, "uid", "", "`UID` of the token's user")
	f.StringVar(&secretFile, "secret-file", "", "`FILE` whose first line is the key (- is standard input)")
	f.DurationVar(&exp, "exp", 0, "the token is valid for `DURATION`, such as 24h")
	f.StringVar(&service, "service", "", "bind the token to the secrets of the service `ID`")
	f.BoolP("json", "j", false, "print JSON")
	base.Required(cmd, "uid", "secret-file")
	return cmd
}

func versionCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  secretstore version",
		Args:    base.NoArgs,
		RunE: base.Run(func(cmd *cobra.Command, _ []string) error {
			v := version.Get()
			if base.WantJSON(cmd) {
				return base.PrintJSON(p.Stdout, v)
			}
			_, err := fmt.Fprintf(p.Stdout, "secretstore %s (%s, %s)\n", v.Version, v.Commit, v.Go)
			return err
		}),
	}
	cmd.Flags().BoolP("json", "j", false, "print JSON")
	return cmd
}

// The completions are our own: those of cobra evaluate the line that is typed, and in
// bash need the package bash-completion.
var (
	//go:embed completion.bash
	bashCompletion string
	//go:embed completion.zsh
	zshCompletion string
	//go:embed completion.fish
	fishCompletion string
)

func completionCommand(p *base.Process) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a script that completes commands in a shell",
		Long: "completion prints a script that completes commands, flags, paths of secrets and versions. Paths and versions\n" +
			"come from the server, as far as your token may list them. If the server does not answer within a second,\n" +
			"completion offers nothing and prints no message.",
		Example: "  source <(secretstore completion bash)\n" +
			"  source <(secretstore completion zsh)\n" +
			"  secretstore completion fish > ~/.config/fish/completions/secretstore.fish",
		ValidArgs: shells,
		Args:      base.ExactArgs(1, "name a shell"),
		RunE: base.Run(func(cmd *cobra.Command, args []string) error {
			script, known := scripts[args[0]]
			if !known {
				return base.Usagef("there is no completion for %q; write: %s", args[0], cmd.UseLine())
			}
			_, err := io.WriteString(p.Stdout, script)
			return err
		}),
	}
}
