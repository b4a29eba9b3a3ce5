package server

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Protect keeps the memory of this process, which holds the keys of an unsealed
// store, from other processes of its user and out of core files. Programs that
// it starts can be read, but write no core either. What cannot be done is an
// error; the rest is done.
func Protect() error {
	var errs []error
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err))
	}
	// A core that is piped to a program ignores this limit, but not the above.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("setrlimit RLIMIT_CORE: %w", err))
	}
	return errors.Join(errs...)
}
