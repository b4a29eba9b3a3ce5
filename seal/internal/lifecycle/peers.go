package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/handover"
	"secretstore/store"
)

// Server is a server as it announces itself. Nothing of it is verified.
type Server struct {
	ID   string // of the process: 32 lower-case hex digits
	Name string // for people: printable ASCII
}

// Peer is a live server of the store.
type Peer struct {
	Server
	Self bool
	// Problem is why a new root key would not reach it, "" if it would. The name
	// of a server with a problem is not verified; any other was announced by
	// someone who has the root key.
	Problem string
}

// Peers are the live servers, by whether a new root key would reach them. A sealed
// one has no root key to lose: it is unsealed with the new unseal key. All are
// empty where no other server can have the storage.
type Peers struct{ Recipients, LeftOut, Sealed []Peer }

// LeftOutError refuses a new root key that would not reach some live servers,
// which would seal.
type LeftOutError struct{ Peers }

func (e *LeftOutError) Error() string {
	return fmt.Sprintf("a new root key would not reach %d of the live servers", len(e.LeftOut))
}

// OldServersError refuses to change keys while servers of an earlier release have
// the storage: they take part in no handover, and write records without a MAC.
type OldServersError struct{ Servers []Server }

func (e *OldServersError) Error() string {
	return fmt.Sprintf("%d live servers run an earlier release", len(e.Servers))
}

// The problems of a peer.
const (
	problemOld    = "it runs an earlier release, which takes part in no key change"
	problemForged = "its announcement does not authenticate: it has another root key, or was announced by someone else"
	problemBroken = "its announcement cannot be read"
)

const (
	// announceTime is how long a rotation waits for servers that are about to
	// announce themselves: after a start, an unseal, a lost connection or a
	// handover. announcePause is the pause in between.
	announceTime  = 2 * time.Second
	announcePause = 100 * time.Millisecond
)

// liveServers knows the servers that share the storage.
type liveServers struct {
	backend   store.Backend
	barrier   *barrier.Barrier
	self      Server
	nodes     func(context.Context) ([]Server, error) // as in Config
	keysMoved chan struct{}                           // asks Announce to look at the keys; capacity 1
}

// Announce announces this server to the others until ctx ends: that it lives
// and, while it is unsealed, the key to which a new root key is to be encrypted.
func Announce(ctx context.Context, l *Lifecycle) {
	announcer := l.servers.announcer()
	if announcer == nil {
		return
	}
	content := make(chan []byte)
	var announcing sync.WaitGroup
	defer announcing.Wait()
	announcing.Go(func() {
		if err := announcer.Announce(ctx, l.servers.self.ID, content); err != nil {
			l.log.Error("this server is not announced to the others", zap.Error(err))
		}
	})
	var last []byte
	for {
		if data := l.servers.announcement(); !bytes.Equal(data, last) {
			select {
			case content <- data:
				last = data
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-l.servers.keysMoved:
		case <-ctx.Done():
			return
		}
	}
}

// announcer returns where servers announce themselves, nil if no other server can
// have the storage.
func (v *liveServers) announcer() store.Announcer {
	if a, ok := v.backend.(store.Announcer); ok && !v.barrier.Exclusive() {
		return a
	}
	return nil
}

// announcement is what there is to announce now.
func (v *liveServers) announcement() []byte {
	data := handover.Sealed(v.self.Name)
	_ = v.barrier.Use(func(k *barrier.Keys) error {
		data = handover.Unsealed(k.UUID, v.self.ID, v.self.Name, k.Root, k.Handover)
		return nil
	})
	return data
}

// noteKeys has the keys in memory announced. It never blocks.
func (v *liveServers) noteKeys() {
	select {
	case v.keysMoved <- struct{}{}:
	default:
	}
}

// Peers returns the live servers. ErrSealed, store.ErrUnavailable,
// store.ErrTooManyAnnouncements.
func (m *Rekeys) Peers(ctx context.Context) (Peers, error) {
	found, _, err := m.servers.settledPeers(ctx)
	return found, err
}

// settledPeers is peers, repeated for a while if some would be left out.
func (v *liveServers) settledPeers(ctx context.Context) (Peers, []handover.Recipient, error) {
	pause := time.NewTicker(announcePause)
	defer pause.Stop()
	for until := time.Now().Add(announceTime); ; {
		found, to, err := v.peers(ctx)
		if err != nil || len(found.LeftOut) == 0 || time.Now().After(until) {
			return found, to, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return Peers{}, nil, store.ErrUnavailable
		}
	}
}

// peers returns the live servers, and to what a new root key is handed over.
func (v *liveServers) peers(ctx context.Context) (found Peers, to []handover.Recipient, err error) {
	announcer := v.announcer()
	if announcer == nil {
		return Peers{}, nil, v.barrier.Ready()
	}
	// First: a server announces itself to people a little later than to others.
	var nodes []Server
	if v.nodes != nil {
		if nodes, err = v.nodes(ctx); err != nil {
			return Peers{}, nil, err
		}
	}
	announced, err := announcer.Announcements(ctx)
	if err != nil {
		return Peers{}, nil, err
	}
	err = v.barrier.Use(func(k *barrier.Keys) error {
		found, to = sortPeers(k, v.self, announced, nodes)
		return nil
	})
	return found, to, err
}

// sortPeers decides which servers a new root key is handed over to, given the
// announcements to servers and those to people.
func sortPeers(k *barrier.Keys, self Server, announced []store.Announcement, nodes []Server) (found Peers, to []handover.Recipient) {
	found.Recipients = []Peer{{Server: self, Self: true}}
	known := map[string]bool{self.ID: true}
	for _, a := range announced {
		if a.ID == self.ID {
			continue
		}
		known[a.ID] = true
		content, err := handover.Parse(a.Data)
		p := Peer{Server: Server{ID: a.ID, Name: content.Name}}
		if err != nil {
			p.Problem = problemBroken
			if i := slices.IndexFunc(nodes, func(n Server) bool { return n.ID == a.ID }); i >= 0 {
				p.Name = nodes[i].Name
			}
			found.LeftOut = append(found.LeftOut, p)
			continue
		}
		if content.Key == "" {
			found.Sealed = append(found.Sealed, p)
			continue
		}
		key, genuine := content.PublicKey(k.UUID, a.ID, k.Root)
		if !genuine {
			p.Problem = problemForged
			found.LeftOut = append(found.LeftOut, p)
			continue
		}
		found.Recipients = append(found.Recipients, p)
		to = append(to, handover.Recipient{ID: a.ID, Key: key})
	}
	for _, n := range nodes {
		if !known[n.ID] {
			found.LeftOut = append(found.LeftOut, Peer{Server: n, Problem: problemOld})
		}
	}
	return found, to
}

// checkPeers returns the live servers before a rekey, and what a new root key is
// handed over to. Unless the operator permits it, it refuses while some run an
// earlier release, or while a new root key would leave out some for any reason.
// Without a rotation there is nothing to hand over. *OldServersError,
// *LeftOutError.
func (v *liveServers) checkPeers(ctx context.Context, rotate, leaveOut bool) (Peers, []handover.Recipient, error) {
	if !rotate && leaveOut {
		return Peers{}, nil, nil
	}
	found, to, err := v.settledPeers(ctx)
	switch {
	case err != nil:
		return Peers{}, nil, err
	case !rotate:
		return Peers{}, nil, found.oldServers()
	case len(found.LeftOut) > 0 && !leaveOut:
		return found, nil, &LeftOutError{found}
	}
	return found, to, nil
}

// oldServers returns an OldServersError if there are any.
func (p Peers) oldServers() error {
	var old []Server
	for _, peer := range p.LeftOut {
		if peer.Problem == problemOld {
			old = append(old, peer.Server)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return &OldServersError{old}
}

// CheckReleases refuses while servers of an earlier release have the storage.
// ErrSealed, store.ErrUnavailable, store.ErrTooManyAnnouncements,
// *OldServersError.
func CheckReleases(ctx context.Context, l *Lifecycle) error {
	found, _, err := l.servers.settledPeers(ctx)
	if err != nil {
		return err
	}
	return found.oldServers()
}

// names is for the log.
func names(peers []Peer) []string {
	all := make([]string, 0, len(peers))
	for _, p := range peers {
		all = append(all, p.Name+" "+p.ID)
	}
	return all
}
