package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/zk"
)

// nodeRecord is what a server announces about itself in a storage that several servers
// share. It is unverified, and only ever shown to people.
type nodeRecord struct {
	Format  int       `json:"format"`
	Name    string    `json:"name"` // of the host
	Listen  []string  `json:"listen"`
	Version string    `json:"version"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
}

const (
	nodeFormat = 1
	// maxNodeText is the largest text of a record in bytes, maxNodeListen the largest
	// number of its addresses.
	maxNodeText   = 255
	maxNodeListen = 4
	// announceEvery is how often the state is checked, which is cheap.
	announceEvery = 250 * time.Millisecond
)

// nodeStates are the states that a record may name.
var nodeStates = []string{
	seal.StateUnknown.String(), seal.StateUninitialized.String(), seal.StateSealed.String(),
	seal.StateUnsealed.String(), seal.StateDamaged.String(),
}

var errBadNode = errors.New("not a valid announcement of a server")

// parseNode reads a record, which an attacker may have written. It accepts exactly
// what announce writes, of limited size, without anything that could move a cursor or
// mislead on a terminal.
func parseNode(data []byte) (nodeRecord, error) {
	if len(data) == 0 || len(data) > store.MaxAnnouncement {
		return nodeRecord{}, errBadNode
	}
	var n nodeRecord
	if json.Unmarshal(data, &n, json.RejectUnknownMembers(true)) != nil || !n.valid() {
		return nodeRecord{}, errBadNode
	}
	return n, nil
}

func (n *nodeRecord) valid() bool {
	if n.Format != nodeFormat || n.Listen == nil || len(n.Listen) > maxNodeListen || !slices.Contains(nodeStates, n.State) {
		return false
	}
	year := n.Since.Year()
	return nodeText(n.Name) && nodeText(n.Version) && !slices.ContainsFunc(n.Listen, func(s string) bool { return !nodeText(s) }) &&
		n.Since.Location() == time.UTC && year > 1 && year <= 9999
}

// nodeText accepts one word of printable ASCII.
func nodeText(s string) bool {
	return s != "" && len(s) <= maxNodeText && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// nodes announces this server in ZooKeeper, and reads what the others announce.
type nodes struct {
	zk *zk.Backend
	id string
	// self is fixed, except for the state and its time.
	self nodeRecord
}

func (s *Server) newNodes() *nodes {
	var id [16]byte
	rand.Read(id[:]) // never fails
	n := &nodes{zk: s.zk, id: hex.EncodeToString(id[:]), self: nodeRecord{Format: nodeFormat, Name: "unknown", Listen: []string{}, Version: "unknown"}}
	if name, err := os.Hostname(); err == nil && nodeText(name) {
		n.self.Name = name
	}
	if nodeText(s.outside.Version) {
		n.self.Version = s.outside.Version
	}
	for _, addr := range []string{s.cfg.Listen, s.cfg.TLSListen} {
		if nodeText(addr) {
			n.self.Listen = append(n.self.Listen, addr)
		}
	}
	return n
}

// server returns this server as it announces itself to the others.
func (n *nodes) server() seal.Server { return serverOf(n.id, n.self) }

// servers returns the servers that announce themselves to people.
func (n *nodes) servers(ctx context.Context) ([]seal.Server, error) {
	announced, err := n.zk.Nodes(ctx)
	var all []seal.Server
	for _, a := range announced {
		if record, err := parseNode(a.Data); err == nil {
			all = append(all, serverOf(a.ID, record))
		}
	}
	return all, err
}

func serverOf(id string, n nodeRecord) seal.Server {
	name := n.Name
	if len(n.Listen) > 0 {
		name += " (" + strings.Join(n.Listen, ", ") + ")"
	}
	return seal.Server{ID: id, Name: name}
}

// announce announces every change of the state until ctx ends.
func (n *nodes) announce(ctx context.Context, status func() seal.Status) error {
	content := make(chan []byte)
	ended := make(chan error, 1)
	var announcing sync.WaitGroup
	defer announcing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	announcing.Go(func() { ended <- n.zk.AnnounceNode(ctx, n.id, content) })
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for now := n.self; ; {
		if state := status().State.String(); state != now.State {
			now.State, now.Since = state, time.Now().UTC().Truncate(time.Second)
			data, err := json.Marshal(now)
			if err != nil {
				return err
			}
			select {
			case content <- data:
			case err := <-ended:
				return err
			}
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return err
		}
	}
}

// list returns the announcements of all servers.
func (n *nodes) list(ctx context.Context) (wire.Nodes, error) {
	var doc wire.Nodes
	all, err := n.zk.Nodes(ctx)
	for _, a := range all {
		record, err := parseNode(a.Data)
		if err != nil {
			doc.Ignored++
			continue
		}
		doc.Array = append(doc.Array, wire.Node{ID: a.ID, Name: record.Name, Listen: record.Listen, Version: record.Version,
			State: record.State, Since: record.Since, Self: a.ID == n.id})
	}
	return doc, err
}
