package authority

import (
	"context"
	"errors"
	"strings"

	"secretstore/iam"
)

// Change writes what f makes of the directory. It calls f again if another change
// came first. It returns the error of f as it is; when it returns nil, Directory
// has the change. Other errors are those of Directory, of ctx, and of the storage:
// one that matches store.ErrOutcomeUnknown says that it may have been written.
func (a *Authority) Change(ctx context.Context, f func(*iam.Directory) (iam.Change, error)) error {
	return a.write(ctx, func(s *state) (put []iam.Record, remove []string, err error) {
		c, err := f(s.directory)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range c.Put {
			data, err := iam.Encode(e)
			if err != nil {
				return nil, nil, err
			}
			put = append(put, iam.Record{Name: recordName(e.ID()), Data: data})
		}
		for _, id := range c.Remove {
			remove = append(remove, recordName(id))
		}
		return put, remove, nil
	})
}

// write applies what f makes of the state, until no other change comes first.
func (a *Authority) write(ctx context.Context, f func(*state) (put []iam.Record, remove []string, err error)) error {
	for {
		s, err := a.usable()
		if err != nil {
			return err
		}
		put, remove, err := f(s)
		if err != nil || len(put)+len(remove) == 0 {
			return err
		}
		if err := a.storage.Apply(ctx, s.at, put, remove); !errors.Is(err, iam.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Records returns the records whose names begin with prefix, except entries. Their
// data must not be modified. There are none while Directory returns an error.
func (a *Authority) Records(prefix string) map[string][]byte {
	s, err := a.usable()
	if err != nil {
		return nil
	}
	return s.plain(prefix)
}

// Lost reports whether there may have been a record of that name that could not be
// read.
func (a *Authority) Lost(name string) bool {
	of, ok := a.storage.(lossReporter)
	return ok && of.Lost(name)
}

// plain returns the records whose names begin with prefix.
func (s *state) plain(prefix string) map[string][]byte {
	found := make(map[string][]byte)
	for name, data := range s.records {
		if strings.HasPrefix(name, prefix) {
			found[name] = data
		}
	}
	return found
}

// ErrNotPlain means that a record is an entry, which only Change writes.
var ErrNotPlain = errors.New("the record is an entry of the directory")

// UpdateRecords writes what f makes of the records that are not entries and whose
// names begin with prefix, as [Authority.Records] returns them: all of it or
// nothing. It calls f again if another change came first. Its errors are those of
// [Authority.Change], and ErrNotPlain.
func (a *Authority) UpdateRecords(ctx context.Context, prefix string, f func(map[string][]byte) (put []iam.Record, remove []string, err error)) error {
	return a.write(ctx, func(s *state) ([]iam.Record, []string, error) {
		put, remove, err := f(s.plain(prefix))
		if err != nil {
			return nil, nil, err
		}
		for _, r := range put {
			if _, entry := entryID(r.Name); entry {
				return nil, nil, ErrNotPlain
			}
		}
		for _, name := range remove {
			if _, entry := entryID(name); entry {
				return nil, nil, ErrNotPlain
			}
		}
		return put, remove, nil
	})
}
