package api

import (
	"context"
	"net/http"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/jsondoc"
	"secretstore/api/wire"
	"secretstore/seal"
)

// list answers with all names below a folder, or a page of them. A list that is
// too long for the memory is sent while it is read.
func (h *secrets) list(x *exchange) (answer.Reply, error) {
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	page := seal.Page{After: x.req.query.After, Limit: x.req.query.Limit}
	list, err := h.store.OpenList(ctx, x.req.path, page, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	rep := answer.Reply{Status: http.StatusOK, ContentType: wire.TypeJSON, Age: list.Age}
	if list.Whole() {
		names, next := list.First()
		rep.Body = jsondoc.List(names, next, list.Incomplete())
		return rep, nil
	}
	names, _ := list.First()
	rep.Body = jsondoc.AppendNames([]byte(`{"array":[`), names)
	rep.More = func() ([]byte, error) {
		piece, err := h.moreNames(x, list)
		if err != nil {
			return nil, x.req.problemOf(err)
		}
		return piece, nil
	}
	return rep, nil
}

// listDeleted answers with the names below a folder of secrets that can be
// undeleted, always a page of them.
func (h *secrets) listDeleted(x *exchange) (answer.Reply, error) {
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	page := seal.Page{After: x.req.query.After, Limit: x.req.query.Limit}
	list, err := h.store.ListDeleted(ctx, x.req.path, page, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Reply{Status: http.StatusOK, ContentType: wire.TypeJSON, Age: list.Age,
		Body: jsondoc.List(list.Names, list.Next, list.Incomplete)}, nil
}

// moreNames returns the next piece of a list, nil after the last.
func (h *secrets) moreNames(x *exchange, list *seal.List) ([]byte, error) {
	if list.Whole() {
		return nil, nil
	}
	// How long this takes is up to the client.
	if err := h.gate.recheck(x); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(x.req.Context(), storageTime)
	defer cancel()
	names, err := list.More(ctx)
	if err != nil {
		return nil, err
	}
	var piece []byte
	if len(names) > 0 {
		piece = jsondoc.AppendNames([]byte{','}, names)
	}
	if list.Whole() {
		piece = jsondoc.EndList(append(piece, ']'), list.Incomplete())
	}
	return piece, nil
}
