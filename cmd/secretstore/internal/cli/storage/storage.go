// Package storage opens a storage without a server, for the commands that need
// none.
package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/cmd/secretstore/internal/server"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/bolt"
)

// contactTime is how long a storage may take to answer at first. A single request
// gives up sooner, as it should in a server.
const (
	contactTime  = 10 * time.Second
	contactPause = 100 * time.Millisecond
)

// Storage is the storage of a command that needs no server.
type Storage struct {
	store.Backend
	Config config.Config
	// Info is what the storage says of the holders of the unseal key.
	Info offline.Info

	backup *seal.Backup // that is in it; nil if it is a real storage
}

// BootstrapFile returns where a bootstrap key beside the storage would be.
func (s *Storage) BootstrapFile() string { return server.BootstrapKeyFile(s.Config.Storage) }

// Name describes the storage for people.
func (s *Storage) Name() string {
	if s.Config.Storage.Kind == config.Bolt {
		return "bolt:" + s.Config.Storage.Path
	}
	return string(s.Config.Storage.Kind) + "://…" + s.Config.Storage.Root
}

// Open opens the storage that the flags name; there is no default. While a
// bbolt file is open, its lock keeps out servers.
func Open(ctx context.Context, p *base.Process, flags *config.Flags) (*Storage, error) {
	return open(ctx, p, flags, server.OpenStorage)
}

// Make is Open, but makes a bbolt file that does not exist.
func Make(ctx context.Context, p *base.Process, flags *config.Flags) (*Storage, error) {
	return open(ctx, p, flags, server.MakeStorage)
}

type opener func(context.Context, config.Config, *zap.Logger) (store.Backend, error)

func open(ctx context.Context, p *base.Process, flags *config.Flags, opening opener) (*Storage, error) {
	cfg, problems := config.Load(flags, p.Getenv)
	if len(problems) > 0 {
		return nil, config.Error(problems)
	}
	if !cfg.Given("storage") || cfg.Storage.Kind == config.Memory {
		return nil, base.Usagef("name the storage with --storage bolt:PATH or zk://HOST:PORT/ROOT")
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "M", LevelKey: "L", EncodeLevel: zapcore.LowercaseLevelEncoder})
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(p.Stderr)), zapcore.WarnLevel))
	backend, err := opening(ctx, cfg, log)
	if errors.Is(err, bolt.ErrInUse) {
		return nil, fmt.Errorf("%w; stop the server first", err)
	}
	if err != nil {
		return nil, err
	}
	s := &Storage{Backend: backend, Config: cfg}
	contact, cancel := context.WithTimeout(ctx, contactTime)
	defer cancel()
	if err := reach(contact, s.Ping); err != nil {
		return nil, errors.Join(fmt.Errorf("the storage does not answer: %w", err), s.Close())
	}
	if s.Info, err = offline.Look(ctx, s); err != nil && !errors.Is(err, offline.ErrUnreadable) {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// reach pings the storage until it answers or ctx ends. It then returns the last
// error before the end of ctx, which says more than that the time is over.
func reach(ctx context.Context, ping func(context.Context) error) (err error) {
	for {
		now := ping(ctx)
		if !errors.Is(now, store.ErrUnavailable) {
			return now
		}
		if err == nil || ctx.Err() == nil {
			err = now
		}
		select {
		case <-time.After(contactPause):
		case <-ctx.Done():
			return err
		}
	}
}

// StartOver removes what a restore or a move that was not finished has left in the
// storage. Anything else stays: it is not for this to remove a store. ErrInUse: a server
// would make a new store as soon as nothing is left.
func (s *Storage) StartOver(ctx context.Context, line *base.Progress) error {
	if err := seal.CheckUnused(ctx, s.Backend); err != nil {
		return err
	}
	abandoned, err := seal.AbandonRestore(ctx, s.Backend)
	if err != nil || !abandoned {
		return err
	}
	err = offline.WipeUnfinished(ctx, s.Backend, func(n int) { line.Show("%d records removed", n) })
	if err != nil {
		return fmt.Errorf("remove what was left: %w\nRun the same command again", err)
	}
	return nil
}

// StartOverHelp describes the flag for StartOver.
const StartOverHelp = "first remove what an unfinished restore or move has left in the storage"

// OpenStore opens the store for reading, with the given shares and those that h
// decrypts; with neither, with the bootstrap key in the storage.
func (s *Storage) OpenStore(ctx context.Context, given []string, h *gpg.Holder) (*seal.Store, error) {
	var failed error
	switch {
	case s.Info.UUID == "" && len(given) == 0:
		return nil, ErrNoHolders
	case len(given) == 0 && h == nil:
		share, err := offline.BootstrapShare(ctx, s, s.BootstrapFile(), s.Info)
		if err != nil {
			return nil, fmt.Errorf("%w; use --gpg, or decrypted shares with --key-file", err)
		}
		given = []string{share}
	case h != nil && len(given) < s.Info.Threshold:
		_, failed = h.Each(ctx, s.Info.Keys, func(_ int, share string) (bool, error) {
			if !slices.Contains(given, share) {
				given = append(given, share)
			}
			return len(given) >= s.Info.Threshold, nil
		})
		if len(given) == 0 || ctx.Err() != nil {
			return nil, failed
		}
	}
	st, err := seal.Recover(ctx, s.Backend, given)
	if errors.Is(err, seal.ErrBadKey) && len(given) < s.Info.Threshold {
		return nil, errors.Join(fmt.Errorf("there are %d of the %d shares; %s", len(given), s.Info.Threshold, s.howToGiveShares()), failed)
	}
	if err != nil {
		return nil, err
	}
	if s.backup != nil && !st.Made(s.backup) {
		return nil, errors.Join(offline.ErrNotMade, st.Close())
	}
	return st, nil
}

// ErrNoHolders: the storage is empty, or damaged.
var ErrNoHolders = errors.New("the storage has no record of the holders of its unseal key")

// howToGiveShares says how other holders contribute without a server.
func (s *Storage) howToGiveShares() string {
	from := "--storage URL"
	if s.backup != nil {
		from = "--from-backup FILE"
	}
	return "other holders decrypt theirs, for --key-file (which --gpg may accompany):\n" +
		"  secretstore recover " + from + " --print-shares > encrypted\n" +
		"  secretstore unseal --share-from encrypted --print-share > share"
}

// Signaled gives a command without a server a context that ends on Ctrl-C.
func Signaled(body func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return base.Run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := base.SignalContext()
		defer stop()
		return body(ctx, cmd, args)
	})
}
