// Package vault finds and decrypts the secrets in the storage of a Vault or OpenBao,
// without one. It only reads. The storage is the caller's: this package does no I/O
// of its own, and trusts nothing that is not authenticated.
//
// An attacker who can write to the storage but does not have the unseal key can
// remove records and put older ones back. They cannot change one, move one to another
// name, or make one: such a record is a Problem, and has no value.
package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/internal/vault/barrier"
	"secretstore/internal/vault/kv"
	"secretstore/internal/vault/mounts"
	"secretstore/internal/vault/shares"
)

const (
	// MaxSecrets bounds how many secrets one Listing has.
	MaxSecrets = 1_000_000
	// maxTexts bounds the names and labels of a source, in bytes, and perText is what each
	// costs besides.
	maxTexts = 512 << 20
	perText  = 64
	// maxProblems bounds how many problems are named; all are counted.
	maxProblems = 10_000
	// atOnce is how many records are read at a time.
	atOnce = 8
)

// ErrTooMany: the source has more secrets than anybody's.
var ErrTooMany = fmt.Errorf("there are more than %d secrets", MaxSecrets)

// ErrTooLarge: the source has longer names than anybody's.
var ErrTooLarge = fmt.Errorf("its names and labels have more than %d MiB", maxTexts>>20)

// Room is the memory for the names and labels of a source, which may be hostile. The zero
// value is empty.
type Room struct{ taken int }

// Take takes room for texts. ErrTooLarge.
func (r *Room) Take(texts ...string) error {
	for _, t := range texts {
		r.taken += len(t) + perText
	}
	if r.taken > maxTexts {
		return ErrTooLarge
	}
	return nil
}

// Storage is where the records are.
type Storage interface {
	// Record returns the bytes of a record, nil if there is none.
	Record(ctx context.Context, name string) ([]byte, error)
	// Below returns the names of the records that begin with prefix, which ends in
	// a slash.
	Below(ctx context.Context, prefix string) ([]string, error)
}

// Options say what to list.
type Options struct {
	// Mounts are the paths of the mounts to list, with a slash at the end; all if
	// there are none.
	Mounts []string
	// Namespace is the path of the one namespace to list, with a slash at the end.
	// "" lists all.
	Namespace string
	// Versions is how many versions of a secret to read at most.
	Versions int
	// Now decides which versions are deleted.
	Now time.Time
}

func (o Options) wants(mount string) bool {
	return len(o.Mounts) == 0 || slices.Contains(o.Mounts, mount)
}

// Listing is what a source holds.
type Listing struct {
	Mounts   []*Mount
	Secrets  []Secret
	Problems []Problem
	// More is how many problems there are beyond those named.
	More int
	// Warnings are about the source as a whole.
	Warnings []string
}

// Mount is a secrets engine, with the number of keys that have no value, and of those
// whose metadata are damaged.
type Mount struct {
	Namespace, Path                        string // with a slash at the end
	Kind                                   string
	Deleted, Destroyed, Valueless, Damaged int
}

// Secret is one secret, which is read when it is needed.
type Secret struct {
	Mount  *Mount
	Path   string // below the mount
	Labels map[string]string
	// Read returns the versions with a value, oldest first, at least one. The
	// caller clears them.
	Read func(ctx context.Context) ([]kv.Object, error)
}

// Problem is a record or folder without a readable value.
type Problem struct {
	Name string // as the source writes it
	Err  error
}

// Note adds a problem.
func (l *Listing) Note(name string, err error) {
	if len(l.Problems) == maxProblems {
		l.More++
		return
	}
	l.Problems = append(l.Problems, Problem{name, err})
}

// Add adds a secret. ErrTooMany.
func (l *Listing) Add(s Secret) error {
	if len(l.Secrets) == MaxSecrets {
		return ErrTooMany
	}
	l.Secrets = append(l.Secrets, s)
	return nil
}

// Vault is an open storage. Make it with Open.
type Vault struct {
	storage Storage
	ring    *barrier.Keyring
}

// ErrNoVault: the storage holds no Vault.
var ErrNoVault = errors.New("there is no Vault: it has no record " + barrier.KeyringName)

// SealConfig returns how many shares open the storage. ErrNoVault, and
// barrier.ErrAutoUnseal.
func SealConfig(ctx context.Context, s Storage) (barrier.SealConfig, error) {
	ring, err := s.Record(ctx, barrier.KeyringName)
	if err != nil {
		return barrier.SealConfig{}, err
	}
	record, err := s.Record(ctx, barrier.SealConfigName)
	if err != nil {
		return barrier.SealConfig{}, err
	}
	if ring == nil || record == nil {
		return barrier.SealConfig{}, ErrNoVault
	}
	return barrier.ParseSealConfig(record)
}

// Open opens the storage with shares of its unseal key, or with the key itself.
// barrier.ErrWrongKey, shares.ErrTooFew.
func Open(ctx context.Context, s Storage, config barrier.SealConfig, parts [][]byte) (*Vault, error) {
	key, err := shares.Combine(parts, config.Shares, config.Threshold)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	wrapped, err := s.Record(ctx, barrier.RootKeysName)
	if err != nil {
		return nil, err
	}
	root, err := barrier.RootKey(key, wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	record, err := s.Record(ctx, barrier.KeyringName)
	if err != nil {
		return nil, err
	}
	ring, err := barrier.OpenKeyring(root, record)
	if err != nil {
		return nil, err
	}
	return &Vault{s, ring}, nil
}

// Close forgets the keys.
func (v *Vault) Close() { v.ring.Clear() }

// open reads and decrypts a record; nil if there is none. An error that is not the
// storage's is *Damage.
func (v *Vault) open(ctx context.Context, name string) ([]byte, error) {
	record, err := v.storage.Record(ctx, name)
	if err != nil || record == nil {
		return nil, err
	}
	plain, err := v.ring.Open(name, record)
	if err != nil {
		return nil, &Damage{err}
	}
	return plain, nil
}

// Damage is an error of one record. All others may be well.
type Damage struct{ Err error }

func (d *Damage) Error() string { return d.Err.Error() }

// Unwrap returns the reason.
func (d *Damage) Unwrap() error { return d.Err }

// IsDamage reports whether err is about one record.
func IsDamage(err error) bool {
	_, ok := errors.AsType[*Damage](err)
	return ok
}

// ErrGone: a record was there when the source was listed.
var ErrGone = errors.New("was removed meanwhile")

// need is open for a record that must be there.
func (v *Vault) need(ctx context.Context, name string) ([]byte, error) {
	plain, err := v.open(ctx, name)
	if err == nil && plain == nil {
		err = &Damage{ErrGone}
	}
	return plain, err
}

// List finds the secrets of all KV engines.
func (v *Vault) List(ctx context.Context, o Options) (*Listing, error) {
	l := &Listing{}
	spaces, err := v.namespaces(ctx, o, l)
	if err != nil {
		return nil, err
	}
	for _, space := range spaces {
		for _, table := range []string{mounts.TableName, mounts.LocalTableName} {
			if err := v.listTable(ctx, space, table, o, l); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// namespaces returns the root, and the namespaces of OpenBao.
func (v *Vault) namespaces(ctx context.Context, o Options, l *Listing) ([]mounts.Namespace, error) {
	var all []mounts.Namespace
	if o.Namespace == "" {
		all = append(all, mounts.Namespace{})
	}
	names, err := v.storage.Below(ctx, mounts.NamespacesPrefix)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		plain, err := v.need(ctx, name)
		var space mounts.Namespace
		if err == nil {
			if space, err = mounts.ParseNamespace(plain); err != nil {
				err = &Damage{err}
			}
		}
		switch {
		case IsDamage(err):
			l.Note(name, err)
		case err != nil:
			return nil, err
		case space.Path != "" && (o.Namespace == "" || o.Namespace == space.Path):
			all = append(all, space)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no namespace %q", o.Namespace)
	}
	return all, nil
}

func (v *Vault) listTable(ctx context.Context, space mounts.Namespace, table string, o Options, l *Listing) error {
	name := space.Prefix + table
	plain, err := v.open(ctx, name)
	if err == nil && plain == nil {
		if table == mounts.TableName { // 0.5.3 has no table of local mounts
			l.Note(name, errors.New("is missing"))
		}
		return nil
	}
	var found []mounts.Mount
	if err == nil {
		if found, _, err = mounts.Parse(plain); err != nil {
			err = &Damage{err}
		}
	}
	if IsDamage(err) {
		l.Note(name, err)
		return nil
	} else if err != nil {
		return err
	}
	for _, m := range found {
		if !o.wants(m.Path) {
			continue
		}
		mount := &Mount{Namespace: space.Path, Path: m.Path, Kind: m.Kind()}
		l.Mounts = append(l.Mounts, mount)
		if m.V2 {
			err = v.listV2(ctx, mount, space.Prefix+m.Prefix, o, l)
		} else {
			err = v.listV1(ctx, mount, space.Prefix+m.Prefix, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *Vault) listV1(ctx context.Context, m *Mount, prefix string, l *Listing) error {
	names, err := v.storage.Below(ctx, prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		s := Secret{Mount: m, Path: strings.TrimPrefix(name, prefix), Read: func(ctx context.Context) ([]kv.Object, error) {
			plain, err := v.need(ctx, name)
			if err != nil {
				return nil, err
			}
			defer clear(plain)
			return one(plain)
		}}
		if err := l.Add(s); err != nil {
			return err
		}
	}
	return nil
}

func one(data []byte) ([]kv.Object, error) {
	o, err := kv.ParseObject(data)
	if err != nil {
		return nil, &Damage{err}
	}
	return []kv.Object{o}, nil
}

func (v *Vault) listV2(ctx context.Context, m *Mount, prefix string, o Options, l *Listing) error {
	if upgrading, err := v.open(ctx, prefix+kv.UpgradingName); err != nil && !IsDamage(err) {
		return err
	} else if err != nil || upgrading != nil && !kv.Upgraded(upgrading) {
		l.Warnings = append(l.Warnings, fmt.Sprintf("%s%s was not completely upgraded from KV v1, so secrets may be missing: let Vault finish it first", m.Namespace, m.Path))
	}
	names, err := v.storage.Below(ctx, prefix+kv.MetadataPrefix)
	if err != nil || len(names) == 0 {
		return err
	}
	salt, err := v.need(ctx, prefix+kv.SaltName)
	if IsDamage(err) {
		m.Damaged = len(names)
		l.Note(prefix+kv.SaltName, fmt.Errorf("%w; without it, the %d secrets of %s%s are not found", err, len(names), m.Namespace, m.Path))
		return nil
	} else if err != nil {
		return err
	}
	return v.listMetadata(ctx, m, prefix, string(salt), names, o, l)
}

// listMetadata reads the records below metadata/, which are many.
func (v *Vault) listMetadata(ctx context.Context, m *Mount, prefix, salt string, names []string, o Options, l *Listing) error {
	var mu sync.Mutex // guards l and m
	paths := map[string]bool{}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, name := range names {
		g.Go(func() error {
			meta, err := v.metadata(running, name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case IsDamage(err):
				m.Damaged++
				l.Note(name, err)
				return nil
			case err != nil:
				return err
			case paths[meta.Path]:
				m.Damaged++
				l.Note(name, fmt.Errorf("describes %s%s%s a second time", m.Namespace, m.Path, meta.Path))
				return nil
			}
			paths[meta.Path] = true
			numbers := meta.Readable(o.Now, o.Versions)
			if len(numbers) == 0 {
				m.Count(meta)
				return nil
			}
			return l.Add(Secret{Mount: m, Path: meta.Path, Labels: meta.Custom, Read: func(ctx context.Context) ([]kv.Object, error) {
				return v.versions(ctx, prefix, salt, meta.Path, numbers)
			}})
		})
	}
	return g.Wait()
}

// Count counts a secret without a value.
func (m *Mount) Count(meta kv.Metadata) {
	switch current, ok := meta.Versions[meta.Current]; {
	case !ok:
		m.Valueless++
	case current.Destroyed:
		m.Destroyed++
	default:
		m.Deleted++
	}
}

func (v *Vault) metadata(ctx context.Context, name string) (kv.Metadata, error) {
	plain, err := v.need(ctx, name)
	if err != nil {
		return kv.Metadata{}, err
	}
	meta, err := kv.ParseMetadata(plain)
	if err != nil {
		err = &Damage{err}
	}
	return meta, err
}

func (v *Vault) versions(ctx context.Context, prefix, salt, path string, numbers []uint64) (all []kv.Object, err error) {
	for _, number := range numbers {
		var o kv.Object
		if o, err = v.version(ctx, prefix+kv.VersionName(salt, path, number)); err != nil {
			for _, o := range all {
				o.Clear()
			}
			if IsDamage(err) {
				err = &Damage{fmt.Errorf("version %d %w", number, err)}
			}
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (v *Vault) version(ctx context.Context, name string) (kv.Object, error) {
	plain, err := v.need(ctx, name)
	if err != nil {
		return kv.Object{}, err
	}
	defer clear(plain)
	data, err := kv.ParseVersion(plain)
	if err != nil {
		return kv.Object{}, &Damage{err}
	}
	o, err := kv.ParseObject(data)
	if err != nil {
		err = &Damage{err}
	}
	return o, err
}
