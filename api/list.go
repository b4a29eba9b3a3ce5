package api

import (
	"context"
	"net/http"

	"secretstore/acl"
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

// search answers with a page of the names below a folder that contain a text.
func (h *secrets) search(x *exchange) (answer.Reply, error) {
	text, err := x.req.query.SearchText()
	if err != nil {
		return answer.Reply{}, err
	}
	shown, err := h.shown(x)
	if err != nil {
		return answer.Reply{}, err
	}
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	search := seal.Search{Text: text, Shown: shown, Page: seal.Page{After: x.req.query.After, Limit: x.req.query.Limit}}
	found, err := h.store.Search(ctx, x.req.path, search, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	rep, err := answer.JSON(wire.Found{Array: found.Names.Names, Next: found.Next, Incomplete: found.Incomplete,
		Matches: found.Matches, Total: found.Total})
	rep.Age = found.Age
	return rep, err
}

// children answers with a page of the entries of a folder.
func (h *secrets) children(x *exchange) (answer.Reply, error) {
	shown, err := h.shown(x)
	if err != nil {
		return answer.Reply{}, err
	}
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	page := seal.Page{After: x.req.query.After, Limit: x.req.query.Limit}
	entries, err := h.store.Children(ctx, x.req.path, shown, page, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.Children{Array: make([]wire.Child, len(entries.Entries)), Next: entries.Next, Incomplete: entries.Incomplete, Total: entries.Total}
	for i, e := range entries.Entries {
		doc.Array[i] = wire.Child(e)
	}
	rep, err := answer.JSON(doc)
	rep.Age = entries.Age
	return rep, err
}

// shown returns what the policy says about names in a folder. It decides again:
// the policy may have been replaced since the request was allowed.
func (h *secrets) shown(x *exchange) (func(acl.Path) bool, error) {
	d, shown := h.gate.policy().DecideSearch(x.who.principal, x.req.path)
	if !d.Allowed {
		return nil, forbidden(d)
	}
	return shown, nil
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
