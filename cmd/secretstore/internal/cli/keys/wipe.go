package keys

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/cmd/secretstore/internal/version"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// wiping is one run of reinit --wipe. The order of its steps makes it safe: nothing is
// removed before the backup is on the disk and gpg has opened it.
type wiping struct {
	p       *base.Process
	flags   *wipeFlags
	s       *storage.Storage
	holder  gpg.Holder
	keys    []string // of the new holders
	result  wipeDocument
	current []string // decrypted shares of the old key
	// deleted and identities are how many deleted secrets there are, and records of users,
	// groups and grants.
	deleted, identities int
}

// wipeDocument is the JSON output of reinit --wipe.
type wipeDocument struct {
	Removed      int      `json:"secrets_removed"`
	Backup       string   `json:"backup"` // "" if none was written
	OldStore     string   `json:"old_store"`
	Store        string   `json:"store"`
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`
	Fingerprints []string `json:"pgp_fingerprints"`
}

func (w *wipeFlags) run(ctx context.Context, cmd *cobra.Command, p *base.Process, rekey *rekeyFlags, flags *config.Flags) (err error) {
	if !cmd.Flags().Changed("storage") {
		return base.Usagef("name the storage to wipe with --storage")
	}
	job := &wiping{p: p, flags: w, holder: gpg.Holder{P: p, Program: rekey.current.Program}}
	keys, threshold, err := rekey.holders.read(cmd, p)
	if err != nil {
		return err
	}
	job.keys, job.result.Shares, job.result.Threshold = keys, len(keys), threshold
	for i, key := range keys {
		if _, err := pgp.ParsePublicKey(key, time.Now()); err != nil {
			return base.Usagef("%s: %v", rekey.holders.files[i], err)
		}
	}
	if job.current, err = rekey.current.Read(p, "current unseal key"); err != nil {
		return err
	}
	if job.s, err = storage.Open(ctx, p, flags); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, job.s.Close()) }()
	job.result.OldStore = job.s.Info.UUID
	if err := job.do(ctx); err != nil {
		return err
	}
	return job.finish(cmd)
}

func (w *wiping) do(ctx context.Context) error {
	n, err := offline.Count(ctx, w.s)
	if err != nil {
		return err
	}
	w.result.Removed = n
	if w.deleted, w.identities, err = offline.CountOthers(ctx, w.s); err != nil {
		return err
	}
	if err := w.confirm(n); err != nil {
		return err
	}
	if w.s.Config.Storage.Kind == config.ZooKeeper {
		if err := offline.Freeze(ctx, w.s); err != nil {
			return err
		}
	}
	if !w.isEmpty() && !w.flags.noBackup {
		if err := w.backup(ctx); err != nil {
			return fmt.Errorf("%w\nNothing was removed%s", err, w.frozen())
		}
	}
	if err := w.remove(ctx); err != nil {
		return fmt.Errorf("%w\nThe rest is still there; run the same command again to continue", err)
	}
	return w.initialize(ctx)
}

// isEmpty reports whether nothing of the old store would be missed.
func (w *wiping) isEmpty() bool { return w.result.Removed+w.deleted+w.identities == 0 }

// frozen says what was done to a store on ZooKeeper.
func (w *wiping) frozen() string {
	if w.s.Config.Storage.Kind == config.ZooKeeper {
		return "; the store is sealed"
	}
	return ""
}

// storeName is the text that the user must type.
const storeName = "default"

// confirm shows what will be lost and asks for the name of the store.
func (w *wiping) confirm(n int) error {
	fmt.Fprintf(w.p.Stderr, "Storage:  %s\nStore:    %s (%s)\nSecrets:  %d, which will all be removed\n", w.s.Name(), storeName, cmp.Or(w.s.Info.UUID, "no keys"), n)
	if w.deleted+w.identities > 0 {
		fmt.Fprintf(w.p.Stderr, "          and %d deleted one(s), and %d record(s) of users, groups and grants\n", w.deleted, w.identities)
	}
	if w.flags.noBackup && !w.isEmpty() {
		fmt.Fprintln(w.p.Stderr, "Backup:   none; they are lost for good")
	}
	if w.flags.yes {
		return nil
	}
	fmt.Fprint(w.p.Stderr, "Are all servers stopped? Type the name of the store to continue: ")
	line, err := bufio.NewReader(io.LimitReader(w.p.Stdin, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != storeName {
		return errors.New("that is not the name of the store; nothing was changed")
	}
	return nil
}

// backup writes a backup that only the new holders can open, and reads every secret
// once.
func (w *wiping) backup(ctx context.Context) error {
	st, err := w.openOld(ctx)
	if err != nil {
		return fmt.Errorf("cannot open the old store for a backup: %w; if its key is lost, use --no-backup", err)
	}
	defer st.Close() // only read
	name := cmp.Or(w.flags.backup, "secretstore-"+time.Now().UTC().Format("20060102T150405Z")+".backup")
	var held seal.InitInfo
	_, err = offline.NewBackup(name, func(out io.Writer) (err error) {
		_, held, err = st.BackupFor(ctx, out, backupOptions(w.s), w.holders())
		return err
	})
	if err != nil {
		return base.UsageIfRefused(fmt.Errorf("the backup: %w", err))
	}
	w.result.Backup = name
	index, err := offline.Export(ctx, st, w.s.Info.UUID, acl.Path{}, offline.Nowhere{})
	switch {
	case err != nil:
		return err
	case index.Failed > 0:
		return fmt.Errorf("%d of %d secrets are damaged, in the backup %s too; `secretstore backup show` names them. If you can do without them, "+
			"keep that file and use --no-backup", index.Failed, len(index.Secrets), name)
	case index.Incomplete:
		return fmt.Errorf("secrets may be missing from the backup %s, because records are damaged. If you can do without them, "+
			"keep that file and use --no-backup", name)
	case len(index.Secrets) != w.result.Removed:
		return fmt.Errorf("the backup %s has %d secrets, but the storage has %d; is a server still running, or has another program written there?", name, len(index.Secrets), w.result.Removed)
	}
	fmt.Fprintf(w.p.Stderr, "Backup:   %s\n", name)
	if w.flags.noVerify {
		return nil
	}
	if err := w.opensBackup(ctx, name, held.Keys); err != nil {
		return fmt.Errorf("the backup %s was written, but %w; run this on a machine with a private key of a new holder, or use --no-verify", name, err)
	}
	return nil
}

// backupOptions says where a backup comes from.
func backupOptions(s *storage.Storage) seal.BackupOptions {
	return seal.BackupOptions{Release: version.Get().Version, Storage: string(s.Config.Storage.Kind)}
}

// holders are the new holders.
func (w *wiping) holders() seal.InitParams {
	return seal.InitParams{Shares: len(w.keys), Threshold: w.result.Threshold, PGPKeys: w.keys}
}

// opensBackup has gpg decrypt shares of the backup, at least one. If these are enough,
// they must open it.
func (w *wiping) opensBackup(ctx context.Context, name string, keys []string) error {
	var given []string
	_, err := w.holder.Each(ctx, keys, func(_ int, share string) (bool, error) {
		given = append(given, share)
		return len(given) >= w.result.Threshold, nil
	})
	switch {
	case errors.Is(err, gpg.ErrNoKey):
		return fmt.Errorf("gpg could not decrypt the key that opens it: %w", gpg.ErrNoKey)
	case err != nil:
		return err
	case len(given) < w.result.Threshold:
		return nil
	}
	return storage.WithBackup(w.p, name, func(_ string, b *seal.Backup) error {
		s, err := storage.KeysOfBackup(ctx, b)
		if err != nil {
			return err
		}
		st, err := s.OpenStore(ctx, given, nil)
		if err == nil {
			err = st.Close()
		}
		return errors.Join(err, s.Close())
	})
}

// openOld opens the old store with the given shares and gpg, or its bootstrap
// key.
func (w *wiping) openOld(ctx context.Context) (*seal.Store, error) {
	if len(w.current) > 0 {
		return w.s.OpenStore(ctx, w.current, &w.holder)
	}
	st, err := w.s.OpenStore(ctx, nil, nil)
	if errors.Is(err, offline.ErrNoBootstrapKey) {
		return w.s.OpenStore(ctx, nil, &w.holder)
	}
	return st, err
}

func (w *wiping) remove(ctx context.Context) error {
	line := base.NewProgress(w.p)
	defer line.End()
	if err := offline.Wipe(ctx, w.s, func(n int) { line.Show("%d records removed", n) }); err != nil {
		return err
	}
	if file := w.s.BootstrapFile(); file != "" {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the bootstrap key: %w", err)
		}
	}
	if c, ok := w.s.Backend.(store.Compacter); ok {
		if err := c.Compact(ctx); err != nil {
			return fmt.Errorf("rewrite the file without deleted data: %w", err)
		}
	}
	return nil
}

// initialize makes the new store, and has gpg verify that it opens.
func (w *wiping) initialize(ctx context.Context) error {
	st, err := seal.Open(ctx, seal.Options{Backend: w.s, BootstrapKeyFile: w.s.BootstrapFile(), Log: zap.NewNop()})
	if err != nil {
		return err
	}
	info, err := st.Init(ctx, w.holders())
	w.result.Store = st.Status().UUID
	if err = errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("everything is removed, but the new store could not be made: %w\nRun the same command again", err)
	}
	w.result.Keys, w.result.Fingerprints = info.Keys, info.Fingerprints
	if w.flags.noVerify {
		return nil
	}
	if w.s.Info, err = offline.Look(ctx, w.s); err != nil {
		return err
	}
	fresh, err := w.s.OpenStore(ctx, nil, &w.holder)
	if err != nil {
		fmt.Fprintf(w.p.Stderr, "secretstore: warning: the new store is not verified yet: %v\n", err)
		return nil
	}
	return fresh.Close()
}

func (w *wiping) finish(cmd *cobra.Command) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(w.p.Stdout, w.result)
	}
	for i, key := range w.result.Keys {
		fmt.Fprintf(w.p.Stdout, "Unseal key for %s:\n%s\n", w.result.Fingerprints[i], key)
	}
	fmt.Fprintf(w.p.Stdout, "The store is new and sealed: it takes %d of %d holders to unseal.\n", w.result.Threshold, w.result.Shares)
	switch {
	case w.result.Backup == "":
	case w.result.Removed+w.deleted == 0:
		fmt.Fprintf(w.p.Stdout, "The old store, with its users, groups and grants, is in %s. The new holders restore it as a whole with:\n"+
			"  secretstore restore %s --storage URL\n", w.result.Backup, shellWord(w.result.Backup))
	default:
		fmt.Fprintf(w.p.Stdout, "The %d secrets of the old store are in %s. The new holders bring them into the unsealed store with:\n"+
			"  secretstore restore %s --into-other-store --gpg\n",
			w.result.Removed, w.result.Backup, shellWord(w.result.Backup))
	}
	_, err := fmt.Fprintln(w.p.Stdout, "Next: start the servers, and run: secretstore unseal --new-store")
	return err
}

// shellWord quotes s for a shell if needed.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
