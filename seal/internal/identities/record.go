package identities

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// The plaintext of a record, in TLS presentation style; its format is in the header
// of the envelope, and so are its id and the number of the change that wrote it.
//
//	opaque  name<1..2^16-1>
//	opaque  data[rest]
const recordFormat = 1

var errBadRecord = errors.New("the record's content is not well-formed")

// encodeRecord returns the plaintext of a record; the caller clears it.
func encodeRecord(r iam.Record) []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 2+len(r.Name)+len(r.Data)))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.Name)) })
	b.AddBytes(r.Data)
	return b.BytesOrPanic() // names are short
}

// decodeRecord reads an authenticated plaintext. The record shares its memory.
func decodeRecord(plain []byte) (iam.Record, error) {
	var name cryptobyte.String
	s := cryptobyte.String(plain)
	if !s.ReadUint16LengthPrefixed(&name) || len(name) == 0 || len(name) > iam.MaxRecordName || len(s) == 0 {
		return iam.Record{}, errBadRecord
	}
	return iam.Record{Name: string(name), Data: s}, nil
}

// openRecord decrypts what is stored under the hash of a name. It must be the one
// record with that id. barrier.ErrCorrupt, barrier.ErrUnknownTerm.
func openRecord(k *barrier.Keys, name barrier.IAMName, id envelope.ID, data []byte) (r iam.Record, seq uint64, err error) {
	key := recordKey(name)
	if claimed, err := envelope.ParseHeader(data); err == nil && claimed.ID != id {
		return iam.Record{}, 0, barrier.Corrupt(key, barrier.ErrOutdated) // or forged
	}
	plain, h, err := k.Open(key, k.IAMPlace(key), data)
	if err != nil {
		return iam.Record{}, 0, err
	}
	if h.Format > recordFormat {
		return iam.Record{}, 0, barrier.Corrupt(key, envelope.ErrNewerFormat)
	}
	if r, err = decodeRecord(plain); err != nil || k.IAMName(r.Name) != name {
		return iam.Record{}, 0, barrier.Corrupt(key, errBadRecord)
	}
	return r, h.Version, nil
}

// sealRecord encrypts a record.
func sealRecord(k *barrier.Keys, name barrier.IAMName, id envelope.ID, seq uint64, r iam.Record) []byte {
	plain := encodeRecord(r)
	defer clear(plain)
	return k.Seal(k.IAMPlace(recordKey(name)), envelope.Header{Format: recordFormat, Version: seq, ID: id}, plain)
}

// checkRecords refuses a change that no storage can take. store.ErrTooLarge.
func checkRecords(put []iam.Record, remove []string) error {
	seen := make(map[string]bool, len(put)+len(remove))
	check := func(name string, ok bool) error {
		if !ok || name == "" || len(name) > iam.MaxRecordName || seen[name] {
			return errBadChange
		}
		seen[name] = true
		return nil
	}
	for _, r := range put {
		if len(r.Data) > iam.MaxRecordBytes {
			return &store.OpError{Err: store.ErrTooLarge}
		}
		if err := check(r.Name, len(r.Data) > 0); err != nil {
			return err
		}
	}
	for _, name := range remove {
		if err := check(name, true); err != nil {
			return err
		}
	}
	return nil
}

var errBadChange = errors.New("internal error: a change of the identities names a record twice, without a name or without data")
