package server

import (
	"runtime"
	"runtime/debug"
)

const (
	// heapFloorSize is how much is allocated and never touched. It takes address
	// space, not memory.
	heapFloorSize = 64 << 20
	// heapGrowth is by how many percent the heap, the floor included, grows
	// between two collections. With full caches it is half of what it would be
	// by default, and so is what is resident beside them.
	heapGrowth = 50
)

// holdHeapFloor keeps the garbage collector from running at every few megabytes
// of requests: it runs when the heap has grown by a part, and what a server on
// bbolt keeps is so little that it would run a hundred times a second under load,
// at a tenth of the CPU. With the floor there are always more than 30 MB between
// two runs. A GOMEMLIMIT would not do: near the size of what is kept it makes the
// collector run all the time. An operator's GOGC is left alone.
func holdHeapFloor() (release func()) {
	floor := make([]byte, heapFloorSize)
	if before := debug.SetGCPercent(heapGrowth); before != 100 {
		debug.SetGCPercent(before)
	}
	return func() { runtime.KeepAlive(floor) }
}
