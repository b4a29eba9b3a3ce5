//go:build !linux

package deliver

import (
	"errors"
	"time"
)

// sinceBoot always fails on this system, so no copy is kept.
func sinceBoot() (string, time.Duration, error) {
	return "", 0, errors.New("--max-stale works on Linux only")
}
