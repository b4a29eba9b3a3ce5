package local

import (
	"context"
	"fmt"

	"secretstore/store"
)

// Expired returns nil while ctx lasts, and afterwards an error that matches
// both store.ErrUnavailable and the reason why ctx ended. A backend asks it
// before it begins, so that nothing is done for a caller who has given up.
func Expired(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
}
