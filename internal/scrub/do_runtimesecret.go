//go:build goexperiment.runtimesecret

package scrub

import "runtime/secret"

// Do runs f. The registers and the stack that f used are erased when it returns,
// and the memory that it allocated when it is freed.
func Do(f func()) { secret.Do(f) }
