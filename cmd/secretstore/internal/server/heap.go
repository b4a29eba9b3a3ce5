package server

import (
	"math"
	"runtime"
	"runtime/debug"
)

const (
	// heapFloorSize bytes are allocated and never touched. They take address
	// space, not memory; a process limited to 1 GB of it (ulimit -v) has room for
	// them.
	heapFloorSize = 64 << 20
	// heapGrowth is by how many percent the heap, the floor included, grows
	// between two collections: by 17 MiB in an idle server, by 34 MiB with
	// 100,000 secrets in memory. That much is resident beside what is in use.
	heapGrowth = 25
)

// tuneCollector keeps the garbage collector from running at every few megabytes
// of requests: a server on bbolt keeps so little that it would collect a hundred
// times a second under load, at a tenth of the CPU. A larger GOGC alone would
// multiply what a server with full caches takes, and a GOMEMLIMIT makes the
// collector run all the time once the caches come near it. An operator's GOGC or
// GOMEMLIMIT takes precedence.
func tuneCollector() (release func()) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return func() {} // the floor would count against it
	}
	if before := debug.SetGCPercent(heapGrowth); before != 100 {
		debug.SetGCPercent(before)
		return func() {}
	}
	floor := make([]byte, heapFloorSize)
	return func() { runtime.KeepAlive(floor) }
}
