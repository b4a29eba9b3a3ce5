package backups

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/seal"
)

func moveCommand(p *base.Process) *cobra.Command {
	var from, to string
	var startOver bool
	cmd := &cobra.Command{
		Use:   "move --from URL --to URL [--start-over]",
		Short: "Move a store between a bbolt file and ZooKeeper",
		Long: "move copies a whole store into empty storage: from a bbolt file to ZooKeeper, back, or to another ROOT. Stop\n" +
			"all servers first; it refuses a storage that a server uses. It needs no key of the store: secrets, versions,\n" +
			"deleted secrets, users and grants are copied as ciphertext, and the holders and all valid tokens stay as they\n" +
			"are. The bootstrap key, if there is one, is copied too; an unfinished rekey is not.\n\n" +
			"The source is left as it is. The store in the target is sealed: set --storage of all servers to it, start\n" +
			"them, and unseal. Never start a server on the source again, or there are two stores that drift apart; keep\n" +
			"it until you are satisfied, then remove it. An interrupted move cannot be continued: with --start-over, the\n" +
			"same command removes what it left in the target, and moves everything again.\n\n" +
			"The flags of ZooKeeper apply to both sides.",
		Example: "  secretstore move --from bolt:/var/lib/secretstore/secrets.db --to zk://zk1:2181,zk2:2181/dcos/secrets --zk-auth-file zk-auth\n" +
			"  secretstore move --from zk://zk1:2181/dcos/secrets --to bolt:/var/lib/secretstore/secrets.db",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the storage with the store: bolt:PATH or zk://H1:P1,H2:P2/ROOT (`URL`)")
	f.StringVar(&to, "to", "", "the empty storage (`URL`)")
	f.BoolVar(&startOver, "start-over", false, storage.StartOverHelp)
	base.Required(cmd, "from", "to")
	known := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.RegisterStorage(known)
	known.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "storage" && flag.Name != "config" {
			f.AddFlag(flag)
		}
	})
	cmd.RunE = storage.Signaled(func(ctx context.Context, _ *cobra.Command, _ []string) error {
		return moveStore(ctx, p, f, from, to, startOver)
	})
	return cmd
}

// moveStore copies the store of one storage into another. given are the flags of the
// command, of which those of ZooKeeper count.
func moveStore(ctx context.Context, p *base.Process, given *pflag.FlagSet, from, to string, startOver bool) (err error) {
	source, err := side(ctx, p, given, "--from", from, storage.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := seal.CheckUnused(ctx, source.Backend); err != nil {
		return stopServers(err)
	}
	if source.Info.UUID == "" {
		return fmt.Errorf("%s: %w", source.Name(), seal.ErrNoStore)
	}
	target, err := side(ctx, p, given, "--to", to, storage.Make)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	line := base.NewProgress(p)
	defer line.End()
	if startOver {
		if err := target.StartOver(ctx, line); err != nil {
			return stopServers(err)
		}
	}
	m := seal.Move{
		From: source.Backend, To: target.Backend, FromKeyFile: source.BootstrapFile(), ToKeyFile: target.BootstrapFile(),
		Progress: func(records int) { line.Show("%d records", records) }, Waiting: waiting(p, line),
	}
	err = m.Run(ctx)
	line.End()
	switch {
	case errors.Is(err, seal.ErrInUse):
		return fmt.Errorf("%w\n%s", stopServers(err), again)
	case errors.Is(err, seal.ErrNoStore):
		return fmt.Errorf("%s: %w", source.Name(), err)
	case errors.Is(err, seal.ErrUnfinished):
		return fmt.Errorf("%s: %w. %s", target.Name(), err, again)
	case errors.Is(err, seal.ErrNotEmpty):
		return fmt.Errorf("%s: %w; move into empty storage", target.Name(), err)
	case err != nil:
		return fmt.Errorf("%w\n%s has a part of the store, which no server serves; %s still has all of it. %s", err, target.Name(), source.Name(), again)
	}
	_, err = fmt.Fprintf(p.Stdout, "The store is in %s, and sealed. Set --storage of all servers to it, start them, and unseal.\n"+
		"%s still has all of it: never start a server there again, and remove it when you are satisfied.\n", target.Name(), source.Name())
	return err
}

// again says how to start over after a move that has failed.
const again = "A move cannot be continued.\nRun the same command again with --start-over: it removes what an unfinished move or restore left there, and moves everything"

func stopServers(err error) error {
	if errors.Is(err, seal.ErrInUse) {
		return fmt.Errorf("%w; stop all of them first (one that crashed counts until its session has expired)", err)
	}
	return err
}

// side opens one of the two storages. Only ZooKeeper has flags besides its URL.
func side(ctx context.Context, p *base.Process, given *pflag.FlagSet, name, url string, open func(context.Context, *base.Process, *config.Flags) (*storage.Storage, error)) (*storage.Storage, error) {
	parsed, err := config.ParseStorage(url)
	if err != nil {
		return nil, base.Usagef("%s: %v", name, err)
	}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := config.RegisterStorage(fs)
	err = fs.Set("storage", url)
	alone := *p
	alone.Getenv = func(string) string { return "" }
	if parsed.Kind == config.ZooKeeper {
		given.Visit(func(flag *pflag.Flag) {
			if fs.Lookup(flag.Name) != nil {
				err = errors.Join(err, fs.Set(flag.Name, flag.Value.String()))
			}
		})
	}
	if err != nil {
		return nil, err
	}
	return open(ctx, &alone, flags)
}
