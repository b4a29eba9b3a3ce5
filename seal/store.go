package seal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/backup"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/feed"
	"secretstore/seal/internal/handover"
	"secretstore/seal/internal/identities"
	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/internal/names"
	"secretstore/seal/internal/records"
	"secretstore/seal/internal/rotation"
	"secretstore/seal/internal/uses"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// Options are what a Store is made of.
type Options struct {
	Backend store.Backend
	// Bootstrap initializes an empty storage with a new key pair, keeps its
	// private key beside the data, and unseals with it.
	Bootstrap bool
	// BootstrapKeyFile is where the bootstrap private key is kept; "" keeps it
	// in the storage itself (keys/bootstrap_user.key).
	BootstrapKeyFile string
	// MaxSecretSize is the largest value in bytes; 0 means 1 MiB.
	MaxSecretSize int64
	// KeepVersions is how many earlier values of each secret are kept.
	KeepVersions int
	// Self is this server, as it announces itself to others that share the storage;
	// without an ID it gets a random one.
	Self Server
	// Nodes returns the servers that announce themselves to people, in the storage
	// but not through this package; nil if none do. One that does not also announce
	// itself to other servers is of a release that cannot take part in a handover.
	Nodes func(context.Context) ([]Server, error)
	// Mode is the security mode of this server. If ModeChosen says that an operator
	// chose it, the first unseal records it, and from then on no server with a lower
	// mode holds the keys of the store. The zero Mode is lower than all others.
	Mode       Mode
	ModeChosen bool
	// GenerateKey makes the bootstrap key. Nil makes a new RSA-4096 key, as every
	// command does; tests that open many stores give one that takes no time.
	GenerateKey func() (*pgp.PrivateKey, error)
	// Scrub erases the garbage in the memory of the process. It is called after
	// keys were dropped, and may take a second. Nil does nothing.
	Scrub func()
	Log   *zap.Logger
}

// Store is one secret store, as this server sees it. Its operations are those
// of its parts.
type Store struct {
	*lifecycle.Lifecycle // Status, Init, InitInfo, Unseal, AutoUnseal, ResetUnseal, Seal, Holders, and the rekey
	*records.Secrets     // Get, Create, Update, Delete, Undelete, Purge, versions, Whole, CreateWhole
	*names.Lists         // List, OpenList, Search, Children; see ListDeleted too
	*feed.Feed           // Watch, Stream
	*rotation.Rotation   // Rotate, RotationStatus
	*uses.Uses           // TaskTerm, TaskMAC, TaskSpent, SpendTask
	*backup.Backups      // Backup

	backend    store.Backend
	barrier    *barrier.Barrier
	identities *identities.Identities
	folders    *names.Folders // of secrets
	deleted    *names.Folders // of deleted secrets
	reader     *records.Reader
	cleanup    *records.Cleanup
	collector  *records.Collector
	log        *zap.Logger

	cancel context.CancelFunc
	owned  sync.WaitGroup
}

// Open reads the state of the storage, bootstraps and unseals as the options
// say, and starts to follow what other servers do. Storage that is out of reach
// is not an error: the store is then in StateUnknown and keeps retrying. The
// context bounds only the start.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Backend == nil || o.Log == nil || o.MaxSecretSize < 0 || o.MaxSecretSize > records.MaxSize || o.KeepVersions < 0 || o.KeepVersions > MaxKeepVersions {
		return nil, errors.New("internal error: seal.Open needs a backend, a log, a size up to 4 GiB and up to 100 versions")
	}
	s, err := newStore(o, false)
	if err != nil {
		return nil, err
	}
	first, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	if err := lifecycle.Refresh(first, s.Lifecycle); err != nil {
		s.log.Warn("the state of the store is not known yet; will keep retrying", zap.Error(err))
	}
	if st := s.Status(); st.State == StateSealed {
		s.log.Warn("the store is sealed", zap.String("reason", lifecycle.WhySealed(s.Lifecycle)))
		if st.ModeWarning != "" {
			s.log.Warn("the security mode may be too low", zap.String("detail", st.ModeWarning))
		}
	}
	s.start(context.WithoutCancel(ctx))
	return s, nil
}

// startTimeout bounds how long Open waits for the storage and, if it is empty,
// for the bootstrap key.
const startTimeout = 15 * time.Second

// newStore connects the parts of a store.
func newStore(o Options, offline bool) (*Store, error) {
	b := barrier.New(o.Backend, offline, o.Log)
	folders, err := names.NewFolders(barrier.KeySecrets, o.Backend, b)
	if err != nil {
		return nil, err
	}
	deleted, err := names.NewFolders(barrier.KeyDeleted, o.Backend, b)
	if err != nil {
		folders.Close()
		return nil, err
	}
	size := o.MaxSecretSize
	if size == 0 {
		size = DefaultMaxSecretSize
	}
	cleanup := records.NewCleanup(o.Backend, b)
	pieces := records.NewPieces(o.Backend, b, cleanup)
	reader := records.NewReader(o.Backend, b, pieces)
	generations := records.NewGenerations(o.Backend, b)
	s := &Store{
		Secrets: records.NewSecrets(reader, cleanup, generations, size, o.KeepVersions),
		Lists:   names.NewLists(folders, names.DefaultSizes),
		Feed:    feed.New(o.Backend, b, folders, reader, feed.DefaultMaxNames, o.Log),
		Uses:    uses.New(o.Backend, b),

		backend:    o.Backend,
		barrier:    b,
		identities: identities.New(o.Backend, b, o.Log),
		folders:    folders,
		deleted:    deleted,
		reader:     reader,
		cleanup:    cleanup,
		collector:  records.NewCollector(reader, cleanup, o.Log),
		log:        o.Log,
		cancel:     func() {},
	}
	private := bootstrapKeyStore(o)
	s.Lifecycle = lifecycle.New(lifecycle.Config{
		Backend: o.Backend, Barrier: b, Bootstrap: o.Bootstrap, BootstrapKeyStore: private, Log: o.Log,
		Self: selfOf(o), Nodes: o.Nodes, Scrub: o.Scrub, Mode: o.Mode, ModeChosen: o.ModeChosen,
		KeyringChanged: func() { rotation.Wake(s.Rotation) },
		RenewRecords: func(ctx context.Context) (func(*barrier.Keys, *envelope.Key) []store.Op, error) {
			return identities.Renew(ctx, s.identities)
		},
	})
	s.Backups = backup.New(o.Backend, b, private, func(ctx context.Context) error {
		if offline {
			return nil
		}
		give, err := lifecycle.TakeFreshTurn(ctx, s.Lifecycle)
		if err == nil {
			give()
		}
		return err
	})
	s.Rotation = rotation.New(rotation.Config{
		Backend: o.Backend, Barrier: b, Folders: folders, Pieces: pieces, Generations: generations, Log: o.Log, ServerID: rand.Text(),
		TakeTurn:      func(ctx context.Context) (func(), error) { return lifecycle.TakeTurn(ctx, s.Lifecycle) },
		TakeFreshTurn: func(ctx context.Context) (func(), error) { return lifecycle.TakeFreshTurn(ctx, s.Lifecycle) },
		CheckReleases: func(ctx context.Context) error { return lifecycle.CheckReleases(ctx, s.Lifecycle) },
	})
	return s, nil
}

// selfOf returns this server as it is announced.
func selfOf(o Options) lifecycle.Server {
	self := o.Self
	if self.ID == "" {
		var id [16]byte
		rand.Read(id[:]) // never fails
		self.ID = hex.EncodeToString(id[:])
	}
	if !handover.ValidName(self.Name) {
		self.Name = "unknown"
	}
	return self
}

func bootstrapKeyStore(o Options) bootstrapkey.Store {
	generate := o.GenerateKey
	if generate == nil {
		generate = bootstrapkey.Generate
	}
	logged := func() (*pgp.PrivateKey, error) {
		o.Log.Info("the storage is empty: making a bootstrap key, which takes a few seconds")
		return generate()
	}
	if o.BootstrapKeyFile != "" {
		return bootstrapkey.InFile(o.BootstrapKeyFile, logged)
	}
	return bootstrapkey.InStorage(o.Backend, logged)
}

// start starts what runs until Close.
func (s *Store) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	s.owned.Go(lifecycle.Follow(ctx, s.Lifecycle))
	s.owned.Go(feed.Follow(ctx, s.Feed))
	for _, run := range []func(context.Context){
		func(ctx context.Context) { lifecycle.Announce(ctx, s.Lifecycle) },
		func(ctx context.Context) { lifecycle.CountLate(ctx, s.Lifecycle) },
		s.collector.RunBlobs, s.collector.RunExpiry, s.cleanup.Run,
		func(ctx context.Context) { rotation.Run(ctx, s.Rotation) },
		func(ctx context.Context) { identities.Run(ctx, s.identities) },
		func(ctx context.Context) { uses.Run(ctx, s.Uses, s.log) },
	} {
		s.owned.Go(func() { run(ctx) })
	}
}

// Identities returns where the records of the identities are kept. Nothing is read
// until somebody follows them.
func (s *Store) Identities() iam.Storage { return s.identities }

// Incarnation returns a text that changes with each restore of a backup; it is "" in a
// store that was never restored. ErrSealed and the like.
func (s *Store) Incarnation() (text string, err error) {
	err = s.barrier.Use(func(k *barrier.Keys) error { text = k.Ring.Incarnation.String(); return nil })
	return text, err
}

// SecurityMode returns the security mode of this server.
func (s *Store) SecurityMode() Mode { return lifecycle.SecurityMode(s.Lifecycle) }

// Unfit returns a channel that is closed once it is certain that the security mode
// of this server is lower than the one that the store remembers, if the server has
// not held the keys before: it should end, because it cannot serve. Status says why.
func (s *Store) Unfit() <-chan struct{} { return lifecycle.Unfit(s.Lifecycle) }

// Close drops the keys and waits for everything the Store has started. It
// records no intent, and leaves the backend open.
func (s *Store) Close() error {
	s.cancel()
	s.owned.Wait()
	s.barrier.Drop()
	s.closeFolders()
	return nil
}

func (s *Store) closeFolders() {
	s.folders.Close()
	s.deleted.Close()
}

// ListDeleted returns the names of the secrets below a folder that were deleted
// and can be undeleted, as List does for those that exist. A page has at most
// MaxDeletedPage names, whatever its limit, and may have fewer although another
// follows. The errors are those of List.
func (s *Store) ListDeleted(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (Names, error) {
	if pg.Limit == 0 || pg.Limit > MaxDeletedPage {
		pg.Limit = MaxDeletedPage
	}
	list, err := names.NewLists(s.deleted, names.DefaultSizes).List(ctx, folder, pg, c)
	if err != nil {
		return Names{}, err
	}
	skipped := false
	list.Names, skipped, err = s.Undeletable(ctx, folder, list.Names, c)
	list.Incomplete = list.Incomplete || skipped
	return list, err
}

// ListAllDeleted is ListDeleted of everything: also of deleted secrets that have expired,
// and of those in whose place others were created.
func (s *Store) ListAllDeleted(ctx context.Context) (Names, error) {
	return names.NewLists(s.deleted, names.DefaultSizes).List(ctx, acl.Path{}, Page{}, store.Latest)
}

// Ping asks the storage whether it answers. store.ErrUnavailable.
func (s *Store) Ping(ctx context.Context) error { return s.backend.Ping(ctx) }

// WriteFault returns why the storage did not take the last write, and nil if it
// did. Storages that do not know return nil.
func (s *Store) WriteFault() error {
	if b, ok := s.backend.(store.WriteReporter); ok {
		return b.WriteFault()
	}
	return nil
}

// KeysReport tells an operator whether the keys are in order.
type KeysReport struct {
	Holders           []Holder
	Shares            int
	Threshold         int
	HoldsBootstrapKey bool
	ConfigWarning     string // as in Status
	RekeyUnderWay     bool   // known only while unsealed
	// Terms is the number of data keys, and OldRecords how many records the
	// present sweep has not moved to the newest; both are 0 while sealed. Rotation
	// says whether that is known, and whether the sweep can finish.
	Terms      int
	OldRecords int64
	Rotation   RotationInfo
	// Skipped is what readers on this server have skipped.
	Skipped Finding
}

// Keys reports on the keys. ErrUninitialized, ErrDamaged, store.ErrUnavailable.
func (s *Store) Keys(ctx context.Context) (KeysReport, error) {
	held, st, err := lifecycle.Report(ctx, s.Lifecycle)
	if err != nil {
		return KeysReport{}, err
	}
	report := KeysReport{Holders: held, Shares: st.Shares, Threshold: st.Threshold, HoldsBootstrapKey: st.HoldsBootstrapKey, ConfigWarning: st.ConfigWarning}
	if !s.barrier.IsOpen() {
		return report, nil
	}
	rotated, err := s.RotationStatus(ctx)
	if err != nil {
		return KeysReport{}, err
	}
	rekey, err := s.RekeyStatus(ctx)
	if err != nil {
		return KeysReport{}, err
	}
	report.Terms, report.OldRecords, report.RekeyUnderWay = rotated.Terms, rotated.Total-rotated.Done, rekey.Active
	report.Rotation, report.Skipped = rotated, s.Damage()
	return report, nil
}

// Damage returns what lists and other readers on this server have skipped since
// it was unsealed, as far as it was not repaired since.
func (s *Store) Damage() Finding { return s.barrier.Damage().Summary() }
