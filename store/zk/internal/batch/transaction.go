package batch

import (
	"errors"
	"fmt"
	"math"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/tree"
)

// MaxPacket bounds a request packet. A server at its default jute.maxbuffer
// closes the connection on one of more than 1,048,575 bytes.
const MaxPacket = 1_048_575 - 64

// Step says how an operation is to be done, beyond what it asks for.
type Step struct {
	store.Digest        // of the record
	Ticket       uint64 // of the cache, from before the write was sent
	Absent       bool   // Bump: the znode is not there, and is to be made
	OverParent   bool   // Create or Ensure: the znode is there, empty, at version At
	At           int32  // then a Set does it
	Never        bool   // the znode is there, but no record: the operation is to fail
	There        bool   // Ensure: the record was found to be there, whatever is still remembered of it
	// Parents are the keys above, topmost first, that have to be made first,
	// in the same transaction: others learn of them from the same change record.
	Parents []store.Key
	// Within says that the transaction makes the znode empty before, as a parent
	// of another operation. Set by Build.
	Within bool
	// Assumed says that the transaction takes the record of an Ensure for being
	// there. Set by Build.
	Assumed bool
}

// Builder makes transactions.
type Builder struct {
	Tree tree.Tree
	// Exists says whether a record is likely to exist.
	Exists func(store.ID) bool
	// Ticket draws a ticket of the cache for a record that is written.
	Ticket func(store.ID) uint64
}

// NewRequest checks ops. An *store.OpError, or store.ErrInvalidOp.
func (b *Builder) NewRequest(ops []store.Op) (*Request, error) {
	if err := store.CheckOps(ops); err != nil {
		return nil, err
	}
	r := &Request{Ops: ops, Steps: make([]Step, len(ops)), done: make(chan result, 1)}
	var deletes map[store.Key]bool
	for i, op := range ops {
		r.Steps[i].Digest = store.RecordDigest(op.Key)
		refuse := func(err error) (*Request, error) { return nil, &store.OpError{Index: i, Key: op.Key, Err: err} }
		if err := tree.CheckKey(op.Key); err != nil {
			return refuse(err)
		}
		if r.bytes += b.opSize(op); r.bytes+b.publishSize() > MaxPacket {
			return refuse(store.ErrTooLarge)
		}
		if op.Kind == store.OpDelete {
			if deletes == nil {
				deletes = make(map[store.Key]bool)
			}
			deletes[op.Key] = true
		} else if len(deletes) > 0 && underAny(deletes, op.Key) {
			return refuse(fmt.Errorf("%w: below a record that the same transaction deletes", store.ErrInvalidOp))
		}
		if op.Version > math.MaxInt32-1 {
			r.Steps[i].Never = true // ZooKeeper's versions have 32 bits
		}
	}
	return r, nil
}

// opSize returns at most how many bytes an operation takes in a request: type,
// done and error of its header (9), path, data, version or flags, and the ACL,
// of which ours are short.
func (b *Builder) opSize(op store.Op) int {
	return 9 + 4 + len(b.Tree.Root) + 1 + len(op.Key) + 4 + len(op.Data) + 4 + 4 + 32
}

// publishSize is what publishing the changes takes in the same request.
func (b *Builder) publishSize() int {
	return 9 + 4 + len(b.Tree.Changes()) + 1 + 32 + 4 + changes.MaxSize + 4
}

// Fits says whether a transaction of r alone fits into one packet, with what has
// to be made above its records.
func (b *Builder) Fits(r *Request) bool { return b.publishSize()+b.need(r) <= MaxPacket }

// need returns at most what r takes of a packet.
func (b *Builder) need(r *Request) int {
	n := r.bytes
	for _, step := range r.Steps {
		for _, parent := range step.Parents {
			n += b.opSize(store.Op{Key: parent})
		}
	}
	return n
}

// Cut splits batch: the first requests fit into one packet, the rest does not.
func (b *Builder) Cut(batch []*Request) (first, rest []*Request) {
	total := b.publishSize()
	for i, r := range batch {
		if total += b.need(r); i > 0 && total > MaxPacket {
			return batch[:i], batch[i:]
		}
	}
	return batch, nil
}

// Transaction is one for a batch of requests.
type Transaction struct {
	Batch []*Request
	// Ops are the operations, without the one that publishes IDs.
	Ops []any
	// IDs are those of the records and listings that it changes, without
	// repetition, and Drops those of them that leave the memory. The others are
	// written there.
	IDs, Drops []store.ID

	owners []Owner
	listed map[store.ID]bool // those of IDs
}

// Owner says what an operation of a transaction is for.
type Owner struct {
	Request *Request
	Index   int  // of the operation of the request
	Parent  bool // it makes a znode above
}

// Owner returns what operation i is for.
func (t *Transaction) Owner(i int) Owner { return t.owners[i] }

// impossible is a version that no znode has: they start at 0, and a client
// would write two billion times to get there.
const impossible = 1<<31 - 1

// Build makes the transaction of batch, whose requests can share one.
func (b *Builder) Build(batch []*Request) *Transaction {
	t := &Transaction{Batch: batch, listed: make(map[store.ID]bool)}
	once := make(map[store.Key]bool) // Checks, Ensures and Bumps
	made := make(map[store.Key]bool) // znodes that the transaction makes
	missing := missingAbove(batch)
	for _, r := range batch {
		for i, op := range r.Ops {
			if !missing[op.Key] && b.implied(r, i) {
				continue
			}
			if sharable(op.Kind) {
				if once[op.Key] {
					continue
				}
				once[op.Key] = true
			}
			for _, parent := range r.Steps[i].Parents {
				if !made[parent] {
					made[parent] = true
					t.add(&zkc.CreateRequest{Path: b.Tree.Path(parent), Data: []byte{}, Acl: b.Tree.ACL}, Owner{r, i, true})
					t.drop(store.ListingID(tree.Parent(parent)))
				}
			}
			r.Steps[i].Within = made[op.Key]
			r.Steps[i].Assumed = b.assumes(r, i)
			t.add(b.request(r, i), Owner{r, i, false})
			if op.Kind == store.OpCheck || r.Steps[i].Assumed {
				continue
			}
			if makes(op.Kind) {
				made[op.Key] = true
			}
			b.publish(t, r, i)
		}
	}
	return t
}

// publish adds what operation i of r changes.
func (b *Builder) publish(t *Transaction, r *Request, i int) {
	op, step := r.Ops[i], &r.Steps[i]
	id := step.ID
	if op.Quiet {
		id |= changes.Quiet
	}
	if Keeps(op) {
		step.Ticket = b.Ticket(step.ID)
		t.listed[id] = true
		t.IDs = append(t.IDs, id)
	} else {
		t.drop(id)
	}
	if op.Kind != store.OpSet && (op.Kind != store.OpBump || step.Absent) {
		t.drop(store.ListingID(tree.Parent(op.Key)))
	}
}

func (t *Transaction) add(op any, by Owner) {
	t.Ops = append(t.Ops, op)
	t.owners = append(t.owners, by)
}

func (t *Transaction) drop(i store.ID) {
	if !t.listed[i] {
		t.listed[i] = true
		t.IDs = append(t.IDs, i)
		t.Drops = append(t.Drops, i)
	}
}

// maxKept bounds the data of writes that are kept in memory: pieces of large
// values are read rarely, if at all.
const maxKept = 16 << 10

// Keeps says whether the data of op is put into the memory once it is written, so
// that the next read and the next write of the record need not ask for it.
func Keeps(op store.Op) bool {
	return (op.Kind == store.OpCreate || op.Kind == store.OpSet) && len(op.Data) <= maxKept
}

// makes says whether an operation of this kind can make a record.
func makes(kind store.OpKind) bool {
	return kind == store.OpCreate || kind == store.OpEnsure || kind == store.OpBump
}

// assumes says whether an operation is an Ensure that only has to see that the
// record is there.
func (b *Builder) assumes(r *Request, i int) bool {
	step := &r.Steps[i]
	return r.Ops[i].Kind == store.OpEnsure && !step.OverParent && !step.Within && (step.There || b.Exists(step.ID))
}

// missingAbove returns the keys above operations of batch that have no znode. An
// Ensure of one of them is to make the record: without it, it would be made empty.
func missingAbove(batch []*Request) map[store.Key]bool {
	var missing map[store.Key]bool // nil as long as there is none, as mostly
	for _, r := range batch {
		for i := range r.Steps {
			for _, parent := range r.Steps[i].Parents {
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
// (If the znode is missing, the Create is refused, and the znode is then among
// missingAbove.)
func (b *Builder) implied(r *Request, i int) bool {
	if !b.assumes(r, i) {
		return false
	}
	for j, op := range r.Ops {
		if op.Kind == store.OpCreate && !r.Steps[j].Never && tree.Parent(op.Key) == r.Ops[i].Key {
			return true
		}
	}
	return false
}

// request returns what is sent for one operation.
func (b *Builder) request(r *Request, i int) any {
	op, step := r.Ops[i], r.Steps[i]
	path := b.Tree.Path(op.Key)
	switch {
	case step.Never, step.Within && !makes(op.Kind):
		return &zkc.CheckVersionRequest{Path: path, Version: impossible}
	case step.Within:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: 0}
	case step.OverParent:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: step.At}
	case step.Assumed:
		return &zkc.CheckVersionRequest{Path: path, Version: -1}
	case op.Kind == store.OpBump && !step.Absent:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: -1}
	case makes(op.Kind):
		return &zkc.CreateRequest{Path: path, Data: op.Data, Acl: b.Tree.ACL}
	case op.Kind == store.OpSet:
		return &zkc.SetDataRequest{Path: path, Data: op.Data, Version: int32(op.Version)}
	case op.Kind == store.OpDelete:
		return &zkc.DeleteRequest{Path: path, Version: int32(op.Version)}
	default:
		return &zkc.CheckVersionRequest{Path: path, Version: int32(op.Version)}
	}
}

// Versions returns what the operations of a committed request left.
func (r *Request) Versions() []store.Version {
	out := make([]store.Version, len(r.Ops))
	for i, op := range r.Ops {
		switch {
		case r.Steps[i].Within:
			out[i] = 1
		case r.Steps[i].OverParent:
			out[i] = store.Version(r.Steps[i].At) + 1
		case op.Kind == store.OpSet:
			out[i] = op.Version + 1
		case op.Kind == store.OpCheck:
			out[i] = op.Version
		}
	}
	return out
}

// SharesRefusal answers r if it has asked for the same check as op, which was
// refused: one attempt for each of many such requests would hold up all others.
func (r *Request) SharesRefusal(op store.Op, err error) bool {
	var refused *store.OpError
	if op.Kind != store.OpCheck || !errors.As(err, &refused) {
		return false
	}
	for i := range r.Ops {
		if r.Ops[i].Key == op.Key && shared(&r.Ops[i], &op) {
			r.Answer(nil, &store.OpError{Index: i, Key: op.Key, Err: refused.Err})
			return true
		}
	}
	return false
}
