package cli

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/logqueue"
	"secretstore/cmd/secretstore/internal/server"
	"secretstore/cmd/secretstore/internal/systemd"
	"secretstore/cmd/secretstore/internal/version"
)

func serverCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the Secret Store",
		Long: "server runs the Secret Store until it gets SIGTERM or SIGINT.\n\n" +
			"Each flag can also be set by an environment variable (--zk-auth-file by SECRETSTORE_ZK_AUTH_FILE) and\n" +
			"by a key of the same name in the YAML file of --config (zk-auth-file: FILE). Flags take precedence over\n" +
			"the environment, and the environment over the file. In the environment, separate the items of a list\n" +
			"by commas. On SIGHUP the server rereads the policy file.",
		Example: "  secretstore server --dev\n" +
			"  secretstore server --storage bolt:/var/lib/secretstore/secrets.db --auth-secret-file auth-secret \\\n" +
			"      --policy-file policy.yaml --audit-log audit.log\n" +
			"  secretstore server --storage zk://zk1:2181,zk2:2181,zk3:2181/dcos/secrets --zk-auth-file zk-auth \\\n" +
			"      --auth-jwks https://master.mesos/acs/api/v1/auth/jwks --superuser admin",
		Args: cobra.ArbitraryArgs, // serve reports them with the other mistakes
	}
	cmd.Flags().SortFlags = false
	flags := config.Register(cmd.Flags())
	cmd.RunE = base.Run(func(cmd *cobra.Command, args []string) error {
		return serve(p, cmd, flags, config.Unexpected(args))
	})
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		flags, positional, problems := config.ParseAll(withoutName(p.Args, cmd.Name()))
		if len(problems) == 0 {
			return err // start no server in spite of a mistake
		}
		return serve(p, cmd, flags, append(problems, config.Unexpected(positional)...))
	})
	return cmd
}

// withoutName returns the arguments without the name of the command.
func withoutName(args []string, name string) []string {
	if at := slices.Index(args, name); at >= 0 {
		return slices.Concat(args[:at], args[at+1:])
	}
	return args
}

// serve runs a server until a signal. It does not start if there is any problem in
// the command line or the rest of the configuration.
//
// All output goes through queues, the error in the end as well: the server waits for
// no reader. SIGPIPE would end it when it writes to a reader that has gone.
func serve(p *base.Process, cmd *cobra.Command, flags *config.Flags, problems []config.Problem) error {
	signal.Ignore(syscall.SIGPIPE)
	stdout, stderr := logqueue.New(p.Stdout), logqueue.New(p.Stderr)
	defer stdout.Close()
	defer stderr.Close()
	err := runServer(p, flags, problems, stdout, stderr)
	if err == nil {
		return nil
	}
	return &base.Ended{Status: base.Report(stderr, cmd, base.Failed(err))}
}

func runServer(p *base.Process, flags *config.Flags, problems []config.Problem, stdout, stderr *logqueue.Queue) error {
	unprotected := server.Protect() // before any key is read
	ctx, stop := base.SignalContext()
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	_, terminal := base.Terminal(p.Stderr)
	sockets, err := systemd.Sockets()
	if err != nil {
		problems = append(problems, config.Problems("systemd", err)...)
	}
	cfg, more := config.Load(flags, p.Getenv)
	s, err := server.New(ctx, cfg, append(problems, more...), server.Outside{
		Stdout: stdout, Stderr: stderr, Terminal: terminal, LinesLost: stderr.Lost, FlushLog: stderr.Flush, Hangup: hangup, Sockets: sockets, Command: os.Args[0], Version: version.Get().Version,
		Unprotected: unprotected, TestOnlyGenerateKey: p.TestOnlyGenerateKey, TestOnlyPasswordRounds: p.TestOnlyPasswordRounds,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
