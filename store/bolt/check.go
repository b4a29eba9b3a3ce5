package bolt

import (
	"bytes"
	"slices"
	"strings"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
)

// checker decides about each operation of one Apply whether it can be done, before
// any is done. As no two name the same key, an earlier one can matter to a
// later one only by making or removing what is below the key of a Delete.
type checker struct {
	records *bbolt.Bucket
	ops     []store.Op
}

type verdict struct {
	refusal error // an error of package store, or nil
	writes  bool
	version store.Version // of the record now, 0 if there is none
}

// op checks operation i. An error means that the file cannot be read.
func (j *checker) op(i int) (verdict, error) {
	op := &j.ops[i]
	value := j.records.Get([]byte(op.Key))
	if value == nil {
		return j.absent(op), nil
	}
	_, version, err := split(value)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case op.Kind == store.OpBump:
		return verdict{version: version, writes: true}, nil
	case op.Kind == store.OpEnsure:
		return verdict{version: version}, nil
	case op.Kind == store.OpCreate:
		return verdict{refusal: store.ErrExists}, nil
	case op.Version != version:
		return verdict{refusal: store.ErrConflict}, nil
	case op.Kind == store.OpDelete && j.hasChildren(i):
		return verdict{refusal: store.ErrNotEmpty}, nil
	}
	return verdict{version: version, writes: op.Kind != store.OpCheck}, nil
}

func (j *checker) absent(op *store.Op) verdict {
	if op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump {
		return verdict{writes: true}
	}
	return verdict{refusal: store.ErrNotFound}
}

// hasChildren says whether anything is below the key of operation i once the
// operations before it are done.
func (j *checker) hasChildren(i int) bool {
	prefix := j.ops[i].Key + "/"
	var deleted []string
	for _, op := range j.ops[:i] {
		if !strings.HasPrefix(op.Key, prefix) {
			continue
		}
		if op.Kind != store.OpDelete {
			return true // it made the record, or found it there
		}
		deleted = append(deleted, op.Key)
	}
	slices.Sort(deleted)
	cursor := j.records.Cursor()
	key, _ := cursor.Seek([]byte(prefix))
	for _, gone := range deleted {
		if !bytes.Equal(key, []byte(gone)) {
			break
		}
		key, _ = cursor.Next()
	}
	return bytes.HasPrefix(key, []byte(prefix))
}
