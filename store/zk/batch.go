package zk

import (
	"strings"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// maxPacket bounds a request packet. A server at its default jute.maxbuffer
// closes the connection on one of more than 1,048,575 bytes.
const maxPacket = 1_048_575 - 64

// opSize returns at most how many bytes an operation takes in a request: type,
// done and error of its header (9), path, data, version or flags, and the ACL,
// of which ours are short.
func (b *Backend) opSize(op store.Op) int {
	return 9 + 4 + len(b.cfg.Root) + 1 + len(op.Key) + 4 + len(op.Data) + 4 + 4 + 32
}

// maxOwnSize is what publishing the changes takes in the same request.
func (b *Backend) maxOwnSize() int {
	return 9 + 4 + len(b.changes) + 1 + 32 + 4 + changeHead + 8*maxRecent + 4
}

// size returns at most how large a request is that does nothing but r.
func (b *Backend) size(r *request) int { return b.maxOwnSize() + b.need(r) }

// need returns at most what r takes of a request, with what has to be made above it.
func (b *Backend) need(r *request) int {
	n := r.bytes
	for _, step := range r.steps {
		for _, parent := range step.parents {
			n += b.opSize(store.Op{Key: parent})
		}
	}
	return n
}

// fit returns the first requests of batch that fit into one packet with what
// has to be made above them, and puts the others back.
func (c *committer) fit(batch []*request) []*request {
	total := c.b.maxOwnSize()
	for i, r := range batch {
		if total += c.b.need(r); i > 0 && total > maxPacket {
			c.b.queue.putBack(batch[i:])
			return batch[:i]
		}
	}
	return batch
}

// How an operation is to be done, beyond what it asks for.
type step struct {
	store.Digest        // of the record
	ticket       uint64 // of the cache, from before the write was sent
	absent       bool   // Bump: the znode is not there, and is to be made
	overParent   bool   // Create or Ensure: the znode is there, empty, at version at
	at           int32  // then a Set does it
	never        bool   // the znode is there, but no record: the operation is to fail
	there        bool   // Ensure: the record was found to be there, whatever is still remembered of it
	// parents are the keys above, topmost first, that have to be made first,
	// in the same transaction: others learn of them from the same change.
	parents []store.Key
	// within says that this transaction makes the znode empty before, as one
	// of the parents of another operation. Set by build.
	within bool
	// assumed says that this transaction takes the record of an Ensure for being
	// there. Set by build.
	assumed bool
}

// tx is one transaction for a batch of requests.
type tx struct {
	ops    []any
	owner  []owner // of each of ops but the last, which publishes the changes
	batch  []*request
	change change
	ids    []id // what change tells anew, without repetition
	drops  []id // those of ids that leave the memory; the others are written there
	told   map[id]bool
}

type owner struct {
	r      *request
	index  int
	parent bool // it makes a znode above
}

// impossible is a version that no znode has: they start at 0, and a client
// would write two billion times to get there.
const impossible = 1<<31 - 1

// build makes the transaction of batch, whose requests can share one.
func (c *committer) build(batch []*request) *tx {
	t := &tx{batch: batch, told: make(map[id]bool)}
	once := make(map[store.Key]bool) // Checks, Ensures and Bumps
	made := make(map[store.Key]bool) // znodes that the transaction makes
	missing := missingAbove(batch)
	for _, r := range batch {
		for i, op := range r.ops {
			if !missing[op.Key] && c.implied(r, i) {
				continue
			}
			if sharable(op.Kind) {
				if once[op.Key] {
					continue
				}
				once[op.Key] = true
			}
			for _, parent := range r.steps[i].parents {
				if !made[parent] {
					made[parent] = true
					t.add(&zkc.CreateRequest{Path: c.b.path(parent), Data: []byte{}, Acl: c.b.acl}, owner{r, i, true})
					t.tell(listingID(parentOf(parent)))
				}
			}
			r.steps[i].within = made[op.Key]
			r.steps[i].assumed = c.assumes(r, i)
			t.add(c.request(r, i), owner{r, i, false})
			if op.Kind == store.OpCheck || r.steps[i].assumed {
				continue
			}
			if op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump {
				made[op.Key] = true
			}
			told := r.steps[i].ID
			if op.Quiet {
				told |= quiet
			}
			if kept(op) {
				r.steps[i].ticket = c.b.cache.ticket(r.steps[i].ID)
				t.told[told] = true
				t.ids = append(t.ids, told)
			} else {
				t.tell(told)
			}
			if op.Kind != store.OpSet && (op.Kind != store.OpBump || r.steps[i].absent) {
				t.tell(listingID(parentOf(op.Key)))
			}
		}
	}
	t.change = c.own.next(t.ids, time.Now())
	t.ops = append(t.ops, &zkc.SetDataRequest{Path: c.own.path, Data: t.change.encode(), Version: c.own.version})
	return t
}

func (t *tx) add(op any, by owner) {
	t.ops = append(t.ops, op)
	t.owner = append(t.owner, by)
}

func (t *tx) tell(i id) {
	if !t.told[i] {
		t.told[i] = true
		t.ids = append(t.ids, i)
		t.drops = append(t.drops, i)
	}
}

// maxKept bounds the data of writes that are kept in memory: pieces of large
// values are read once in a while, if at all.
const maxKept = 16 << 10

// kept says whether what op writes is put into the memory once it is done, so
// that the next read and the next write of the record need not ask for it.
func kept(op store.Op) bool {
	return (op.Kind == store.OpCreate || op.Kind == store.OpSet) && len(op.Data) <= maxKept
}

// assumes says whether an operation is an Ensure that only has to see that the
// record is there.
func (c *committer) assumes(r *request, i int) bool {
	return r.ops[i].Kind == store.OpEnsure && !r.steps[i].overParent && !r.steps[i].within && (r.steps[i].there || c.b.existing.has(r.steps[i].ID))
}

// missingAbove returns the keys above operations of batch that have no znode. Who
// ensures one of them is to make the record: without it, it would be made empty.
func missingAbove(batch []*request) map[store.Key]bool {
	var missing map[store.Key]bool // nil as long as there is none, as mostly
	for _, r := range batch {
		for i := range r.steps {
			for _, parent := range r.steps[i].parents {
				if missing == nil {
					missing = make(map[store.Key]bool)
				}
				missing[parent] = true
			}
		}
	}
	return missing
}

// implied says whether an Ensure need not be sent: it would only see that the
// znode is there, and so does a Create right below it in the same request.
// (If the znode has gone, that is refused, and the znode among missingAbove.)
func (c *committer) implied(r *request, i int) bool {
	if !c.assumes(r, i) {
		return false
	}
	for j, op := range r.ops {
		if op.Kind == store.OpCreate && !r.steps[j].never && parentOf(op.Key) == r.ops[i].Key {
			return true
		}
	}
	return false
}

// request returns what is sent for one operation.
func (c *committer) request(r *request, i int) any {
	op, step := r.ops[i], r.steps[i]
	path := c.b.path(op.Key)
	makes := op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump
	switch {
	case step.never, step.within && !makes:
		return &zkc.CheckVersionRequest{Path: path, Version: impossible}
	case step.within:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: 0}
	case step.overParent:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: step.at}
	case step.assumed:
		return &zkc.CheckVersionRequest{Path: path, Version: -1}
	case op.Kind == store.OpBump && !step.absent:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: -1}
	case makes:
		return &zkc.CreateRequest{Path: path, Data: op.Data, Acl: c.b.acl}
	case op.Kind == store.OpSet:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: int32(op.Version)}
	case op.Kind == store.OpDelete:
		return &zkc.DeleteRequest{Path: path, Version: int32(op.Version)}
	default:
		return &zkc.CheckVersionRequest{Path: path, Version: int32(op.Version)}
	}
}

// versions returns what the operations of a committed request left.
func (r *request) versions() []store.Version {
	out := make([]store.Version, len(r.ops))
	for i, op := range r.ops {
		switch {
		case r.steps[i].within:
			out[i] = 1
		case r.steps[i].overParent:
			out[i] = store.Version(r.steps[i].at) + 1
		case op.Kind == store.OpSet:
			out[i] = op.Version + 1
		case op.Kind == store.OpCheck:
			out[i] = op.Version
		}
	}
	return out
}

// parentOf returns the key above; of a key with one component, the empty key.
func parentOf(key store.Key) store.Key {
	return key[:max(0, strings.LastIndexByte(key, '/'))]
}
