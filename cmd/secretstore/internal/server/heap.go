package server

import (
	"math"
	"runtime"
	"runtime/debug"
)

const (
	// heapFloorSize is how much is allocated and never touched. It takes address
	// space, not memory, unless the kernel is told to promise no more than it has
	// (vm.overcommit_memory=2): there, a GOMEMLIMIT does without it.
	heapFloorSize = 512 << 20
	// heapGrowth is by how many percent the heap, the floor included, grows
	// between two collections: by 32 MB when next to nothing is kept, by 40 with
	// full caches. It is resident beside what is kept.
	heapGrowth = 6
)

// holdHeapFloor keeps the garbage collector from running at every few megabytes
// of requests: it runs when the heap has grown by a part, and what a server on
// bbolt keeps is so little that it would run a hundred times a second under load,
// at a tenth of the CPU. With the floor there are always more than 30 MB between
// two runs, and not many more. A GOMEMLIMIT would not do: near the size of what
// is kept it makes the collector run all the time. An operator's GOGC or
// GOMEMLIMIT is left alone; the floor would count against the latter.
func holdHeapFloor() (release func()) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return func() {}
	}
	if before := debug.SetGCPercent(heapGrowth); before != 100 {
		debug.SetGCPercent(before)
		return func() {}
	}
	floor := make([]byte, heapFloorSize)
	return func() { runtime.KeepAlive(floor) }
}
