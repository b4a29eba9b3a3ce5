package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

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
	page, details, err := pageOf(x)
	if err != nil {
		return answer.Reply{}, err
	}
	list, err := h.store.ListDeleted(ctx, x.req.path, page, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.List{Array: list.Names, Next: list.Next, Incomplete: list.Incomplete}
	if details {
		if doc.Details, err = h.details(ctx, x, list.Names); err != nil {
			return answer.Reply{}, err
		}
	}
	rep, err := answer.JSON(doc)
	rep.Age = list.Age
	return rep, err
}

// search answers with a page of the names below a folder that contain a text.
func (h *secrets) search(x *exchange) (answer.Reply, error) {
	text, err := x.req.query.SearchText()
	if err != nil {
		return answer.Reply{}, err
	}
	page, details, err := pageOf(x)
	if err != nil {
		return answer.Reply{}, err
	}
	shown, err := h.shown(x)
	if err != nil {
		return answer.Reply{}, err
	}
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	found, err := h.store.Search(ctx, x.req.path, seal.Search{Text: text, Shown: shown, Page: page}, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.Found{Array: found.Names.Names, Next: found.Next, Incomplete: found.Incomplete, Matches: found.Matches, Total: found.Total}
	if details {
		if doc.Details, err = h.details(ctx, x, doc.Array); err != nil {
			return answer.Reply{}, err
		}
	}
	rep, err := answer.JSON(doc)
	rep.Age = found.Age
	return rep, err
}

// children answers with a page of the entries of a folder.
func (h *secrets) children(x *exchange) (answer.Reply, error) {
	page, details, err := pageOf(x)
	if err != nil {
		return answer.Reply{}, err
	}
	shown, err := h.shown(x)
	if err != nil {
		return answer.Reply{}, err
	}
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	entries, err := h.store.Children(ctx, x.req.path, shown, page, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.Children{Array: make([]wire.Child, len(entries.Entries)), Next: entries.Next, Incomplete: entries.Incomplete, Total: entries.Total}
	names := make([]string, len(entries.Entries))
	for i, e := range entries.Entries {
		doc.Array[i], names[i] = wire.Child(e), e.Name
	}
	if details {
		if doc.Details, err = h.details(ctx, x, names); err != nil {
			return answer.Reply{}, err
		}
	}
	rep, err := answer.JSON(doc)
	rep.Age = entries.Age
	return rep, err
}

// pageOf returns the page of a list that is asked for, and whether details are.
func pageOf(x *exchange) (page seal.Page, details bool, err error) {
	page = seal.Page{After: x.req.query.After, Limit: x.req.query.Limit}
	if details, err = x.req.query.Details(); details && (page.Limit == 0 || page.Limit > wire.MaxDetailsLimit) {
		page.Limit = wire.MaxDetailsLimit
	}
	return page, details, err
}

// detailsAtOnce is how many secrets are read at once for details.
const detailsAtOnce = 8

// details describes the secrets with these names below the path of a request. It is
// nil for folders, for what the caller may not read, and for what cannot be read.
func (h *secrets) details(ctx context.Context, x *exchange, names []string) ([]*wire.Detail, error) {
	all, policy := make([]*wire.Detail, len(names)), h.gate.policy()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(detailsAtOnce)
	for i, name := range names {
		p, err := acl.ParsePath(x.req.path.String() + "/" + name)
		if strings.HasSuffix(name, "/") || err != nil || !policy.Decide(x.who.principal, acl.Request{Op: acl.ReadVersions, Path: p}).Allowed {
			continue
		}
		group.Go(func() error {
			versions, err := h.store.Versions(ctx, p, head.Consistency(x.req.Header))
			if errors.Is(err, seal.ErrNotFound) || errors.Is(err, seal.ErrCorrupt) {
				return nil
			}
			if err != nil {
				return err
			}
			newest := versions.Versions[0]
			all[i] = &wire.Detail{Kind: kindWord(newest.Kind), Version: newest.Version, Written: answer.Time(newest.Written), Author: versions.Author, Deleted: answer.Time(versions.Deleted)}
			return nil
		})
	}
	return all, group.Wait()
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
