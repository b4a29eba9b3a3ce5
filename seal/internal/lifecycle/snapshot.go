package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
	"secretstore/seal/internal/mode"
	"secretstore/store"
)

// storageState is what a snapshot found.
type storageState int

const (
	storageUnknown storageState = iota // not read yet
	storageEmpty
	storagePresent
	storageDamaged
)

// snapshot is the life-cycle records, read together. It is immutable.
type snapshot struct {
	state             storageState
	detail            string
	stamp             string          // equal in two snapshots if nothing has changed
	config            *holders.Config // if present
	holdsBootstrapKey bool

	root, keyring   []byte // envelopes
	configVersion   store.Version
	rootVersion     store.Version
	keyringVersion  store.Version
	handover        []byte // envelope; nil if there is none
	handoverVersion store.Version
	intent          intent
	intentVersion   store.Version
	intentMissing   bool
	mode            mode.Record // nothing that it says is verified
	modeVersion     store.Version
	modeMissing     bool
}

func damaged(detail string) *snapshot {
	return &snapshot{state: storageDamaged, detail: detail, stamp: detail}
}

// snapshotReader reads the life-cycle records.
type snapshotReader struct {
	backend           store.Backend
	barrier           *barrier.Barrier
	bootstrap         bool // as in Config
	bootstrapKeyStore bootstrapkey.Store
}

// takeSnapshot reads the records. It fails only if the storage does not answer.
func (r *snapshotReader) takeSnapshot(ctx context.Context) (*snapshot, error) {
	n, err := r.readNodes(ctx)
	if err != nil {
		return nil, err
	}
	if n.config == nil {
		return r.snapshotWithoutConfig(ctx)
	}
	cfg, err := holders.ParseConfig(n.config.Data)
	if err != nil {
		return damaged(fmt.Sprintf("%s: %v", barrier.KeyConfig, err)).stamped(n), nil
	}
	if n.root == nil || n.keyring == nil {
		return damaged("the store has lost its key records " + missing(map[store.Key]*store.Node{barrier.KeyRoot: n.root, barrier.KeyKeyring: n.keyring}) +
			"; restore them from a backup").stamped(n), nil
	}
	s := &snapshot{state: storagePresent, config: cfg, root: n.root.Data, keyring: n.keyring.Data, keyringVersion: n.keyring.Version,
		configVersion: n.config.Version, rootVersion: n.root.Version, intent: sealedIntent(""), intentMissing: true, modeMissing: true}
	if n.handover != nil {
		s.handover, s.handoverVersion = n.handover.Data, n.handover.Version
	}
	if n.intent != nil {
		s.intent, s.intentVersion, s.intentMissing = parseIntent(n.intent.Data), n.intent.Version, false
	}
	if n.mode != nil {
		s.mode, s.modeVersion, s.modeMissing = mode.ParseRecord(n.mode.Data), n.mode.Version, false
	}
	if n.bootstrapKey == "" && r.bootstrap && !s.intent.Sealed && !r.barrier.IsOpen() {
		// Another server may have made the store after its key was looked for.
		if n.bootstrapKey, err = r.bootstrapKeyStore.Fingerprint(ctx); err != nil {
			return nil, err
		}
	}
	s.holdsBootstrapKey = slices.Contains(cfg.Fingerprints, n.bootstrapKey)
	return s.stamped(n), nil
}

// stamped notes the versions of the records.
func (s *snapshot) stamped(n nodes) *snapshot {
	for _, node := range []*store.Node{n.config, n.root, n.keyring, n.intent, n.handover, n.mode} {
		if node == nil {
			s.stamp += " none"
		} else {
			s.stamp += fmt.Sprint(" ", node.Version)
		}
	}
	return s
}

// nodes are the records of a snapshot as they were read; nil if there is none.
type nodes struct {
	config, root, keyring, intent, handover, mode *store.Node
	bootstrapKey                                  string // fingerprint; "" if there is none
}

// readNodes reads all records at once, so that they share one round trip to the
// quorum, and parses the bootstrap key meanwhile.
func (r *snapshotReader) readNodes(ctx context.Context) (nodes, error) {
	var n nodes
	group, ctx := errgroup.WithContext(ctx)
	for key, into := range map[store.Key]**store.Node{
		barrier.KeyConfig: &n.config, barrier.KeyRoot: &n.root, barrier.KeyKeyring: &n.keyring, barrier.KeyIntent: &n.intent, barrier.KeyHandover: &n.handover,
		barrier.KeyMode: &n.mode,
	} {
		group.Go(func() error {
			node, err := r.backend.Get(ctx, key, store.Latest)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil && !(key == barrier.KeyMode && errors.Is(err, store.ErrUnusable)) { // which counts as forged
				return fmt.Errorf("read %s: %w", key, err)
			}
			*into = &node
			return nil
		})
	}
	if !r.barrier.Offline() { // no unseal would take the parsed key
		group.Go(func() (err error) {
			n.bootstrapKey, err = r.bootstrapKeyStore.Fingerprint(ctx)
			return err
		})
	}
	return n, group.Wait()
}

// snapshotWithoutConfig distinguishes an empty storage from one that has lost
// its records: initializing that one would make its secrets unreadable forever.
func (r *snapshotReader) snapshotWithoutConfig(ctx context.Context) (*snapshot, error) {
	var left []string
	for _, key := range []store.Key{barrier.KeySecrets, barrier.KeyDeleted, barrier.KeyBlobs, barrier.KeyIAM, barrier.KeyIdentity} {
		list, err := r.backend.Children(ctx, key, store.Latest)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", key, err)
		}
		if len(list.Names) > 0 {
			left = append(left, key)
		}
	}
	for _, key := range []store.Key{barrier.KeyRoot, barrier.KeyKeyring, barrier.KeyIntent, barrier.KeyIAM, barrier.KeyBootstrap, barrier.KeyRestoring, barrier.KeyRestored} {
		_, err := r.backend.Get(ctx, key, store.Latest)
		if err == nil && !slices.Contains(left, key) {
			left = append(left, key)
		} else if err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
	}
	if len(left) == 0 {
		return &snapshot{state: storageEmpty}, nil
	}
	// Another server may be initializing the store just now. Its one transaction
	// writes config too, so config decides if it is read after the rest.
	_, err := r.backend.Get(ctx, barrier.KeyConfig, store.Latest)
	switch {
	case err == nil:
		return r.takeSnapshot(ctx)
	case errors.Is(err, store.ErrNotFound) && slices.Contains(left, barrier.KeyRestoring):
		return damaged("a restore of a backup into this storage, or a move, is not finished: wait for it, or run the same command again"), nil
	case errors.Is(err, store.ErrNotFound):
		return damaged(fmt.Sprintf("%s is missing, but %s is there; restore it from a backup, or remove everything with the servers stopped",
			barrier.KeyConfig, strings.Join(left, ", "))), nil
	default:
		return nil, fmt.Errorf("read %s: %w", barrier.KeyConfig, err)
	}
}

func missing(nodes map[store.Key]*store.Node) string {
	var keys []string
	for key, node := range nodes {
		if node == nil {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, ", ")
}

// stableSnapshot is takeSnapshot, repeated until two snapshots agree if the
// first needs confirmation: the records are read one by one, and may have been
// replaced together in between.
func (m *machine) stableSnapshot(ctx context.Context) (*snapshot, error) {
	s, err := m.snapshots.takeSnapshot(ctx)
	for range barrier.MaxAttempts {
		if err != nil || !m.needsConfirmation(s) {
			return s, err
		}
		again, err := m.snapshots.takeSnapshot(ctx)
		if err != nil || again.stamp == s.stamp {
			return again, err
		}
		s = again
	}
	return s, err
}

// needsConfirmation reports whether s would drop the keys, report damage, or
// change whether the config or the record of the mode is trusted.
func (m *machine) needsConfirmation(s *snapshot) bool {
	if s.state == storageDamaged || s.state == storageEmpty {
		return true
	}
	if !m.barrier.IsOpen() {
		return false
	}
	_, revised, err := m.keysAsOf(s)
	if err == nil {
		m.barrier.Discard(revised)
	}
	return err != nil || m.trust.trustOf(s) != configTrust(m.trust.last.Load()) || m.mode.recordOf(s) != modeRecord(m.mode.last.Load())
}

// intentOps returns the operations that replace the intent of this snapshot, in
// the store of this snapshot: a storage that is being wiped must not be left
// with an intent alone.
func (s *snapshot) intentOps(data []byte) []store.Op {
	ops := []store.Op{store.Check(barrier.KeyConfig, s.configVersion), store.Set(barrier.KeyIntent, data, s.intentVersion)}
	if s.intentMissing {
		ops[1] = store.Create(barrier.KeyIntent, data)
	}
	return ops
}
