package api

import (
	"context"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

// readVersion answers with one version of a secret.
func (h *secrets) readVersion(x *exchange) (answer.Reply, error) {
	version, err := x.req.query.Version()
	if err != nil {
		return answer.Reply{}, err
	}
	rep, err := h.answer(x, version)
	return rep, problem.InsteadOfNotFound(err, problem.NoVersion)
}

// listVersions answers with the versions of a secret, without their values.
func (h *secrets) listVersions(x *exchange) (answer.Reply, error) {
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	versions, err := h.store.Versions(ctx, x.req.path, head.Consistency(x.req.Header))
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.Versions{Deleted: answer.Time(versions.Deleted), Description: versions.Description, Labels: versions.Labels, Author: versions.Author}
	for _, v := range versions.Versions {
		doc.Versions = append(doc.Versions, wire.Version{Version: v.Version, ETag: head.ETag(v.ID), Written: answer.Time(v.Written),
			Kind: kindWord(v.Kind), Bytes: v.Size, Current: v.Current})
	}
	rep, err := answer.JSON(doc)
	rep.Age = versions.Age
	return rep, err
}

// deleteVersion removes one earlier version.
func (h *secrets) deleteVersion(x *exchange) (answer.Reply, error) {
	version, err := x.req.query.Version()
	if err != nil {
		return answer.Reply{}, err
	}
	rep, err := h.remove(x, func(ctx context.Context, p acl.Path, match seal.Match) error {
		return h.store.DeleteVersion(ctx, p, version, match)
	})
	return rep, problem.InsteadOfNotFound(err, problem.NoVersion)
}

func kindWord(k seal.Kind) string {
	if k == seal.Text {
		return "text"
	}
	return "binary"
}
