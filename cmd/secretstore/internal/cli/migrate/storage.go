package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	zkc "github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/vault"
	"secretstore/internal/vault/barrier"
	"secretstore/internal/vault/shares"
	"secretstore/internal/vault/storage"
	"secretstore/store"
	"secretstore/store/zk"
)

const (
	// maxZnodes bounds how many znodes are listed below one folder, and maxLevels
	// how deep.
	maxZnodes = 4 * vault.MaxSecrets
	maxLevels = 128
)

// stored is the storage of a Vault, opened.
type stored struct {
	flags  *Flags
	v      *vault.Vault
	reader *zk.Reader // nil for a dump
}

func (s *stored) list(ctx context.Context) (*inventory, error) {
	l, err := s.v.List(ctx, s.flags.options())
	if err != nil {
		return nil, err
	}
	return s.flags.inventory(l)
}

func (s *stored) changes() bool { return s.reader != nil }

func (s *stored) close() {
	s.v.Close()
	if s.reader != nil {
		s.reader.Close()
	}
}

func (f *Flags) openDump(ctx context.Context, p *base.Process) (origin, error) {
	data, err := base.ReadInput(p, f.znodes)
	if err != nil {
		return nil, err
	}
	_, records, err := storage.ParseDump(data)
	if err != nil {
		return nil, base.Usagef("%s: %v", f.znodes, err)
	}
	v, err := f.unseal(ctx, p, records)
	if err != nil {
		return nil, err
	}
	return &stored{f, v, nil}, nil
}

func (f *Flags) openZooKeeper(ctx context.Context, p *base.Process) (origin, error) {
	at, err := config.ParseStorage(f.zk)
	if err == nil && (at.Kind != config.ZooKeeper || strings.Count(f.zk, "/") < 3) {
		err = errors.New("write zk://HOST:PORT,HOST:PORT/ROOT; ROOT is dcos/vault/default in DC/OS")
	}
	if err != nil {
		return nil, base.Usagef("--from-vault-zk: %v", err)
	}
	cfg := zk.Config{Servers: at.Servers, Root: at.Root}
	if f.zkAuth != "" {
		if cfg.User, cfg.Password, err = base.ReadLogin(p, "--from-zk-auth-file", f.zkAuth); err != nil {
			return nil, err
		}
	}
	reader, err := zk.NewReader(cfg)
	if err != nil {
		return nil, base.Usagef("--from-vault-zk: %v", err)
	}
	v, err := f.unseal(ctx, p, &znodes{reader, at.Root})
	if err != nil {
		reader.Close()
		return nil, err
	}
	return &stored{f, v, reader}, nil
}

// unseal opens the storage with shares from files, or from the user's gpg.
func (f *Flags) unseal(ctx context.Context, p *base.Process, s vault.Storage) (*vault.Vault, error) {
	cfg, err := vault.SealConfig(ctx, s)
	if errors.Is(err, barrier.ErrAutoUnseal) {
		return nil, fmt.Errorf("%w, so its unseal key is not here; import over HTTP, with --from-vault", err)
	} else if err != nil {
		return nil, err
	}
	if len(f.keyFiles) == 0 {
		return nil, base.Usagef("give the unseal key of that Vault, or %d of its %d shares, with --unseal-key-file", cfg.Threshold, cfg.Shares)
	}
	parts, err := f.shares(ctx, p, cfg.Threshold)
	defer func() {
		for _, part := range parts {
			clear(part)
		}
	}()
	if err != nil {
		return nil, err
	}
	v, err := vault.Open(ctx, s, cfg, parts)
	if errors.Is(err, shares.ErrTooFew) {
		err = fmt.Errorf("%w: the unseal key has %d shares, and %d are needed", err, cfg.Shares, cfg.Threshold)
	}
	return v, err
}

// shares reads the shares in the files. What is too long for one is an OpenPGP message
// with a share in hex.
func (f *Flags) shares(ctx context.Context, p *base.Process, threshold int) (parts [][]byte, err error) {
	var wrapped []string
	for _, name := range f.keyFiles {
		texts, err := readShares(p, name)
		if err != nil {
			return parts, err
		}
		for _, text := range texts {
			share, err := shares.Parse([]byte(text))
			if err == nil {
				parts = append(parts, share)
				continue
			}
			message, err := shares.Decode([]byte(text))
			if err != nil || len(message) < 64 {
				return parts, base.Usagef("%s: %v", name, shares.ErrMalformed)
			}
			wrapped = append(wrapped, fmt.Sprintf("%x", message))
		}
	}
	if len(wrapped) == 0 || len(parts) >= threshold {
		return parts, nil
	}
	_, err = gpg.Holder{P: p, Program: f.gpg}.Each(ctx, wrapped, func(_ int, text string) (bool, error) {
		share, err := shares.Parse([]byte(text))
		if err == nil {
			parts = append(parts, share)
		}
		return len(parts) >= threshold, err
	})
	if errors.Is(err, gpg.ErrNoKey) {
		err = errors.New("gpg has no private key for any of the shares; run this where one is, or put the decrypted shares into --unseal-key-file")
	}
	return parts, err
}

// readShares reads a file with one share a line, or the answer of GET /init or of
// vault operator init with JSON. A share may also be typed.
func readShares(p *base.Process, name string) ([]string, error) {
	if _, ok := base.Terminal(p.Stdin); ok && name == "-" {
		text, err := base.ReadKey(p, name, "unseal key")
		return []string{text}, err
	}
	data, err := base.ReadText(p, name)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	texts := sharesIn(data)
	if len(texts) == 0 {
		return nil, base.Usagef("%s is empty; it should hold the unseal key", name)
	}
	return texts, nil
}

func sharesIn(data []byte) []string {
	var doc struct {
		Keys   []string `json:"keys"`
		Hex    []string `json:"unseal_keys_hex"`
		Base64 []string `json:"unseal_keys_b64"`
	}
	if json.Unmarshal(data, &doc) == nil {
		for _, keys := range [][]string{doc.Keys, doc.Hex, doc.Base64} {
			if len(keys) > 0 {
				return keys
			}
		}
	}
	return strings.Fields(string(data))
}

// znodes is the storage of a Vault in ZooKeeper.
type znodes struct {
	reader *zk.Reader
	root   string
}

// Record implements vault.Storage.
func (z *znodes) Record(ctx context.Context, name string) ([]byte, error) {
	data, err := z.reader.Read(ctx, storage.ZnodeOf(z.root, name))
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, zkc.ErrInvalidPath):
		return nil, nil
	case err != nil:
		return nil, z.explain(name, err)
	case len(data) == 0:
		return nil, nil // a folder
	}
	return data, nil
}

func (z *znodes) explain(name string, err error) error {
	if errors.Is(err, zk.ErrDenied) {
		return failedSource(fmt.Errorf("%w: %s; give its user with --from-zk-auth-file", err, quoted(name)))
	}
	return failedSource(err)
}

// Below implements vault.Storage, one level of folders after the other.
func (z *znodes) Below(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	level := []string{storage.FolderOf(z.root, prefix)}
	for depth, total := 0, 0; len(level) > 0; depth++ {
		if total += len(level); total > maxZnodes || depth > maxLevels {
			return nil, failedSource(fmt.Errorf("there are more than %d znodes, or %d levels", maxZnodes, maxLevels))
		}
		var mu sync.Mutex // guards names and next
		var next []string
		g, running := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for _, at := range level {
			g.Go(func() error {
				f, err := z.reader.Folder(running, at)
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, zkc.ErrInvalidPath) {
					return nil // gone, or a name that Vault cannot have written
				}
				if err != nil {
					return z.explain(at, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if name, ok := storage.NameOf(z.root, at); ok && f.HasData {
					names = append(names, name)
				}
				for _, child := range f.Children {
					if !strings.Contains(child, "/") {
						next = append(next, path.Join(at, child))
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		level = next
	}
	slices.Sort(names)
	return names, nil
}
