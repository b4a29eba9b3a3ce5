package problem

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
)

func TestEachErrorHasItsStatusAndWords(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		words  string
		retry  bool
	}{
		{seal.ErrNotFound, 404, "does not exist", false},
		{seal.ErrExists, 409, "already exists", false},
		{seal.ErrSealed, 503, "the secret store is sealed", false},
		{seal.ErrUninitialized, 503, "not initialized", false},
		{seal.ErrDamaged, 503, "damaged", false},
		{seal.ErrTooLarge, 413, "too large", false},
		{seal.ErrBadMetadata, 400, "too large", false},
		{seal.ErrInitialized, 400, "already initialized", false},
		{seal.ErrBadKey, 400, "64 hex digits", false},
		{seal.ErrWrongKey, 400, "wrong unseal key", false},
		{seal.ErrNoBootstrapKey, 400, "no bootstrap key", false},
		{seal.ErrBadShares, 400, "shares", false},
		{seal.ErrRekeyUnderWay, 409, "GET /secrets/v1/rekey/default", false},
		{seal.ErrNoRekey, 404, "GET /secrets/v1/rekey/default", false},
		{seal.ErrTooManyTerms, 409, "too many rotations", false},
		{store.ErrTooLarge, 413, "export-minimal", false},
		{seal.ErrSealNotRecorded, 503, "sealed here, not yet recorded", true},
		{store.ErrUnavailable, 503, "unreachable", true},
		{fmt.Errorf("%w: %w", store.ErrUnavailable, context.DeadlineExceeded), 503, "did not answer in time", true},
		{store.ErrOutcomeUnknown, 503, "outcome unknown", true},
		{seal.ErrPiecesLeft, 503, "outcome unknown: the secret is gone", true},
		{store.ErrFull, 503, "the disk of the storage is full: nothing was changed", true},
		{store.ErrNoWrites, 503, "the storage takes no writes: nothing was changed", true},
		{acl.ErrInvalidPath, 404, "invalid secret path", false},
		{acl.ErrInvalidService, 400, "invalid service id", false},
		{&pgp.KeyError{Reason: "expired", Hint: "extend it"}, 400, "expired; extend it", false},
		{seal.ErrCorrupt, 500, "internal error", false},
		{store.ErrConflict, 500, "internal error", false},
		{errors.New("anything"), 500, "internal error", false},
	} {
		p := Of(fmt.Errorf("CANARY: %w", row.err))
		if p.Status != row.status || !strings.Contains(p.Text, row.words) || p.Retry != row.retry || strings.Contains(p.Text, "CANARY") {
			t.Errorf("%v: %d %q retry=%v", row.err, p.Status, p.Text, p.Retry)
		}
		if http.StatusText(p.Status) == "" {
			t.Errorf("%v: no reason phrase", row.err)
		}
	}
}
