package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

// readVersion answers with one value of a secret: GET ?version=N.
func (s *Server) readVersion(c *call) (reply, error) {
	version, err := c.query.versionNumber()
	if err != nil {
		return reply{}, err
	}
	rep, err := s.answerSecret(c, func(ctx context.Context, p acl.Path, want store.Consistency) (seal.Secret, error) {
		return s.store.GetVersion(ctx, p, version, want)
	})
	return rep, otherwise(err, textNoVersion)
}

// listVersions tells which values of a secret there are: GET ?versions=true.
func (s *Server) listVersions(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	versions, err := s.store.Versions(ctx, c.path, consistency(c.r.Header))
	if err != nil {
		return reply{}, err
	}
	doc := wire.Versions{Deleted: whenKnown(versions.Deleted)}
	for _, v := range versions.Versions {
		doc.Versions = append(doc.Versions, wire.Version{Version: v.Version, ETag: etagOf(v.ID), Written: whenKnown(v.Written), Kind: kindWord(v.Kind),
			Bytes: v.Size, Current: v.Current})
	}
	rep, err := asJSON(doc)
	if err != nil {
		return reply{}, err
	}
	rep.age = versions.Age
	return rep, nil
}

// deleteVersion removes one earlier value: DELETE ?version=N.
func (s *Server) deleteVersion(c *call) (reply, error) {
	version, err := c.query.versionNumber()
	if err != nil {
		return reply{}, err
	}
	err = s.remove(c, "a version of the secret was removed", func(ctx context.Context, when seal.Match) error {
		return s.store.DeleteVersion(ctx, c.path, version, when)
	})
	if err != nil {
		return reply{}, otherwise(err, textNoVersion)
	}
	return empty(http.StatusNoContent)
}

// otherwise gives an absent secret another text.
func otherwise(err error, text string) error {
	if errors.Is(err, seal.ErrNotFound) {
		return notFound(text)
	}
	return err
}

func kindWord(k seal.Kind) string {
	if k == seal.Text {
		return "text"
	}
	return "binary"
}

// whenKnown is a time on the wire, to the second; null where it is not known.
func whenKnown(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
