package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
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

// storage is the storage of a command that needs no server.
type storage struct {
	store.Backend
	cfg  config.Config
	info offline.Info
}

// bootstrapFile returns where a bootstrap key beside the storage would be.
func (s *storage) bootstrapFile() string { return server.BootstrapKeyFile(s.cfg.Storage) }

// name describes the storage for people.
func (s *storage) name() string {
	if s.cfg.Storage.Kind == config.Bolt {
		return "bolt:" + s.cfg.Storage.Path
	}
	return string(s.cfg.Storage.Kind) + "://…" + s.cfg.Storage.Root
}

// openStorage opens the storage that the flags name; there is no default. While a
// bbolt file is open, its lock keeps out servers.
func openStorage(ctx context.Context, p *base.Process, flags *config.Flags) (*storage, error) {
	cfg, problems := config.Load(flags, p.Getenv)
	if len(problems) > 0 {
		return nil, config.Error(problems)
	}
	if !cfg.Given("storage") || cfg.Storage.Kind == config.Memory {
		return nil, base.Usagef("name the storage with --storage bolt:PATH or zk://HOST:PORT/ROOT")
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "M", LevelKey: "L", EncodeLevel: zapcore.LowercaseLevelEncoder})
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(p.Stderr)), zapcore.WarnLevel))
	backend, err := server.OpenStorage(ctx, cfg, log)
	if errors.Is(err, bolt.ErrInUse) {
		return nil, fmt.Errorf("%w; stop the server first", err)
	}
	if err != nil {
		return nil, err
	}
	s := &storage{Backend: backend, cfg: cfg}
	contact, cancel := context.WithTimeout(ctx, contactTime)
	defer cancel()
	if err := reach(contact, s.Ping); err != nil {
		return nil, errors.Join(fmt.Errorf("the storage does not answer: %w", err), s.Close())
	}
	if s.info, err = offline.Look(ctx, s); err != nil && !errors.Is(err, offline.ErrUnreadable) {
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

// open opens the store for reading, with the given shares and those that h
// decrypts; with neither, with the bootstrap key in the storage.
func (s *storage) open(ctx context.Context, given []string, h *gpg.Holder) (*seal.Store, error) {
	var failed error
	switch {
	case s.info.UUID == "" && len(given) == 0:
		return nil, errNoHolders
	case len(given) == 0 && h == nil:
		share, err := offline.BootstrapShare(ctx, s, s.bootstrapFile(), s.info)
		if err != nil {
			return nil, fmt.Errorf("%w; use --gpg, or decrypted shares with --key-file", err)
		}
		given = []string{share}
	case h != nil && len(given) < s.info.Threshold:
		_, failed = h.Each(ctx, s.info.Keys, func(_ int, share string) (bool, error) {
			if !slices.Contains(given, share) {
				given = append(given, share)
			}
			return len(given) >= s.info.Threshold, nil
		})
		if len(given) == 0 || ctx.Err() != nil {
			return nil, failed
		}
	}
	st, err := seal.Recover(ctx, s, given)
	if errors.Is(err, seal.ErrBadKey) && len(given) < s.info.Threshold {
		return nil, errors.Join(fmt.Errorf("there are %d of the %d shares; %s", len(given), s.info.Threshold, howToGiveShares), failed)
	}
	return st, err
}

var errNoHolders = errors.New("the storage has no record of the holders of its unseal key")

// howToGiveShares says how other holders contribute without a server.
const howToGiveShares = `other holders decrypt theirs, for --key-file (which --gpg may accompany):
  secretstore recover --storage URL --print-shares > encrypted
  secretstore unseal --share-from encrypted --print-share > share`

// signaled gives a command without a server a context that ends on Ctrl-C.
func signaled(body func(ctx context.Context, cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return base.Run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		return body(ctx, cmd)
	})
}
