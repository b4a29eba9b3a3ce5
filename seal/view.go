package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"secretstore/seal/envelope"
	"secretstore/store"
)

type storageKind int

const (
	storageUnknown storageKind = iota
	storageEmpty
	storagePresent
	storageDamaged
)

// view is what was last read of the records that make a store. It is immutable.
type view struct {
	kind              storageKind
	detail            string
	stamp             string        // equal in two looks if nothing has changed
	config            *configRecord // where present
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
}

// look reads the records. A storage that does not answer is an error; whatever
// it answers is a view.
func (s *Store) look(ctx context.Context) (*view, error) {
	r, err := s.readRecords(ctx)
	if err != nil {
		return nil, err
	}
	if r.config == nil {
		return s.lookWithoutConfig(ctx)
	}
	cfg, err := parseConfig(r.config.Data)
	if err != nil {
		return damaged(fmt.Sprintf("%s: %v", keyConfig, err)).stamped(r), nil
	}
	if r.root == nil || r.keyring == nil {
		return damaged("the store has lost its key records " + missing(map[store.Key]*store.Node{keyRoot: r.root, keyKeyring: r.keyring}) +
			"; restore them from a backup").stamped(r), nil
	}
	v := &view{kind: storagePresent, config: cfg, root: r.root.Data, keyring: r.keyring.Data, keyringVersion: r.keyring.Version,
		configVersion: r.config.Version, rootVersion: r.root.Version, intent: sealedIntent(""), intentMissing: true}
	if r.handover != nil {
		v.handover, v.handoverVersion = r.handover.Data, r.handover.Version
	}
	if r.intent != nil {
		v.intent, v.intentVersion, v.intentMissing = parseIntent(r.intent.Data), r.intent.Version, false
	}
	if r.bootstrapKey == "" && s.bootstrap && !v.intent.Sealed && !s.barrier.isOpen() {
		// Another server may have made the store after the key was looked for.
		if r.bootstrapKey, err = s.keeper.fingerprint(ctx); err != nil {
			return nil, err
		}
	}
	v.holdsBootstrapKey = slices.Contains(cfg.Fingerprints, r.bootstrapKey)
	return v.stamped(r), nil
}

// stamped notes the versions of what was read.
func (v *view) stamped(r records) *view {
	for _, node := range []*store.Node{r.config, r.root, r.keyring, r.intent, r.handover} {
		if node == nil {
			v.stamp += " none"
		} else {
			v.stamp += fmt.Sprint(" ", node.Version)
		}
	}
	return v
}

// records are the nodes that make a store; nil where there is none.
type records struct {
	config, root, keyring, intent, handover *store.Node
	bootstrapKey                            string // fingerprint; "" if there is none
}

// readRecords reads all of them at once, so that they share one round trip to
// the quorum, and beside it a key that is new is parsed.
func (s *Store) readRecords(ctx context.Context) (records, error) {
	var r records
	group, ctx := errgroup.WithContext(ctx)
	for key, into := range map[store.Key]**store.Node{
		keyConfig: &r.config, keyRoot: &r.root, keyKeyring: &r.keyring, keyIntent: &r.intent, keyHandover: &r.handover,
	} {
		group.Go(func() error {
			node, err := s.backend.Get(ctx, key, store.Latest)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			*into = &node
			return nil
		})
	}
	if !s.offline { // then nothing would take the key that is parsed
		group.Go(func() (err error) {
			r.bootstrapKey, err = s.keeper.fingerprint(ctx)
			return err
		})
	}
	return r, group.Wait()
}

// lookWithoutConfig tells an empty storage from one that has lost its records:
// initialising over secrets would make them unreadable for ever.
func (s *Store) lookWithoutConfig(ctx context.Context) (*view, error) {
	var left []string
	for _, key := range []store.Key{keySecrets, keyDeleted, keyBlobs, keyIdentity} {
		list, err := s.backend.Children(ctx, key, store.Latest)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", key, err)
		}
		if len(list.Names) > 0 {
			left = append(left, key)
		}
	}
	for _, key := range []store.Key{keyRoot, keyKeyring, keyIntent, keyBootstrap} {
		_, err := s.backend.Get(ctx, key, store.Latest)
		if err == nil {
			left = append(left, key)
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
	}
	if len(left) == 0 {
		return &view{kind: storageEmpty}, nil
	}
	// Another server may be initialising at this moment: its one transaction
	// has both, so config decides when it is read after the rest.
	_, err := s.backend.Get(ctx, keyConfig, store.Latest)
	switch {
	case err == nil:
		return s.look(ctx)
	case errors.Is(err, store.ErrNotFound):
		return damaged(fmt.Sprintf("%s is missing, but %s is there; restore it from a backup, or remove everything with the servers stopped",
			keyConfig, strings.Join(left, ", "))), nil
	default:
		return nil, fmt.Errorf("read %s: %w", keyConfig, err)
	}
}

func damaged(detail string) *view {
	return &view{kind: storageDamaged, detail: detail, stamp: detail}
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

// DamagedRecord says which record of the storage does not open. It matches
// ErrCorrupt. Keys hold no names in the clear: they may be shown.
type DamagedRecord struct {
	Key   store.Key
	cause error
}

func (e *DamagedRecord) Error() string {
	text := ErrCorrupt.Error() + ": " + e.Key
	if errors.Is(e.cause, envelope.ErrNewerFormat) {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns ErrCorrupt.
func (e *DamagedRecord) Unwrap() error { return ErrCorrupt }

// corrupt names the record that does not open.
func corrupt(key store.Key, cause error) error { return &DamagedRecord{Key: key, cause: cause} }
