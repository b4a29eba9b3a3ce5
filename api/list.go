package api

import (
	"context"
	"net/http"

	"secretstore/api/wire"
	"secretstore/seal"
)

// listSecrets answers with all names below a folder, or a page of them. A list
// that is too long to be held in memory is sent while it is read.
func (s *Server) listSecrets(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	list, err := s.store.OpenList(ctx, c.path, seal.Page{After: c.query.after, Limit: c.query.limit}, consistency(c.r.Header))
	if err != nil {
		return reply{}, err
	}
	rep := reply{status: http.StatusOK, contentType: wire.TypeJSON, age: list.Age}
	if list.Whole() {
		rep.body = encodeList(list.First())
		return rep, nil
	}
	names, _ := list.First()
	rep.body = appendNames([]byte(`{"array":[`), names)
	rep.more = func() ([]byte, error) { return s.moreNames(c, list) }
	return rep, nil
}

// moreNames returns the next piece of a list, nil after the last.
func (s *Server) moreNames(c *call, list *seal.List) ([]byte, error) {
	if list.Whole() {
		return nil, nil
	}
	// It depends on the client how long this takes.
	if err := s.recheck(c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), storageTime)
	defer cancel()
	names, err := list.More(ctx)
	if err != nil {
		return nil, err
	}
	var piece []byte
	if len(names) > 0 {
		piece = appendNames([]byte{','}, names)
	}
	if list.Whole() {
		piece = append(piece, `]}`...)
	}
	return piece, nil
}

// encodeList is the answer for a whole list.
func encodeList(names []string, next string) []byte {
	size := 64 + len(next)
	for _, n := range names {
		size += len(n) + 3
	}
	body := append(make([]byte, 0, size), `{"array":`...)
	body = appendStrings(body, names)
	if next != "" {
		body = appendMember(body, "next", next)
	}
	return append(body, '}')
}
