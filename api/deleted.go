package api

import (
	"context"
	"net/http"

	"secretstore/seal"
)

func (s *Server) deleteSecret(c *call) (reply, error) {
	if c.query.oddPurge {
		// A delete in its place would leave what was to be gone.
		return reply{}, badRequest("purge must be true or false")
	}
	err := s.remove(c, "the secret was deleted", func(ctx context.Context, when seal.Match) error { return s.store.Delete(ctx, c.path, when) })
	if err != nil {
		return reply{}, err
	}
	return empty(http.StatusNoContent)
}

// purgeSecret removes a secret, deleted or not, so that nothing is left of it:
// DELETE ?purge=true.
func (s *Server) purgeSecret(c *call) (reply, error) {
	err := s.remove(c, "the secret was purged", func(ctx context.Context, when seal.Match) error { return s.store.Purge(ctx, c.path, when) })
	if err != nil {
		return reply{}, err
	}
	return empty(http.StatusNoContent)
}

// remove does what a DELETE asks for, under the conditions that it names.
func (s *Server) remove(c *call, effect string, do func(context.Context, seal.Match) error) error {
	given, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	if err := s.auditable(); err != nil {
		return err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	err = do(ctx, given.permit())
	c.note(err, effect)
	return err
}

// undeleteSecret brings back a deleted secret as it was.
func (s *Server) undeleteSecret(c *call) (reply, error) {
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	id, err := s.store.Undelete(ctx, c.path)
	c.note(err, "the secret was undeleted")
	if err != nil {
		return reply{}, otherwise(err, textNoDeleted)
	}
	return written(http.StatusNoContent, id)
}
