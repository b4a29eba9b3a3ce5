package server

import "runtime"

// heapFloorSize is how much is allocated and never touched. It takes address
// space, not memory.
const heapFloorSize = 32 << 20

// holdHeapFloor keeps the garbage collector from running at every few megabytes
// of requests: it runs when the heap has doubled, and what a server on bbolt
// keeps is so little that it would run a hundred times a second under load, at a
// tenth of the CPU. With the floor it runs at 64 MB. A GOMEMLIMIT would not do:
// near the size of what is kept it makes the collector run all the time.
func holdHeapFloor() (release func()) {
	floor := make([]byte, heapFloorSize)
	return func() { runtime.KeepAlive(floor) }
}
