// Package scrub makes what a program no longer uses unreadable in its memory.
//
// Byte slices that the program owns are cleared by their owner. What is left are
// copies that libraries made: in decoders, in ciphers, in the buffers of
// connections that are closed. They are garbage, but the garbage collector does
// not overwrite what it frees, and returns only whole pages. With
// GODEBUG=clobberfree=1, which the Makefile builds in, it does; this matters for
// memory that becomes a stack before Memory is called, and is never cleared.
//
// With GOEXPERIMENT=runtimesecret, the runtime itself erases what was used
// inside Do; see runtime/secret. Memory is the same in both builds.
package scrub

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"unsafe"
)

// collections is how many it takes until everything is freed: a sync.Pool keeps
// its content through one, an object with a finalizer lives through another.
const collections = 3

// running: two calls of Memory at once would take the processors from each
// other.
var running sync.Mutex

// Memory erases the garbage of the program: it collects it, overwrites what is
// free between objects in use, and returns free pages to the system. It takes
// from milliseconds to a second, in which the program has one processor. What
// other goroutines free meanwhile is not erased.
func Memory() {
	running.Lock()
	defer running.Unlock()
	defer oneProcessor()()
	for range collections {
		debug.FreeOSMemory()
	}
	overwriteFree()
	debug.FreeOSMemory()
}

// oneProcessor takes all processors but one from the program, and returns a
// function that gives them back. Each has a cache of free memory, which
// goroutines on another one cannot reach; a processor that is taken away returns
// its cache.
func oneProcessor() (restore func()) {
	before := runtime.GOMAXPROCS(1)
	return func() {
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.SetDefaultGOMAXPROCS() // which also follows later changes of the limit
			return
		}
		runtime.GOMAXPROCS(before)
	}
}

const (
	// batch is how many bytes are allocated between two looks at the size of the
	// heap. It is larger than every span (a run of pages with objects of one
	// size), so that a batch that finds no free memory makes the heap grow.
	batch = 128 << 10
	// pageSize is the size of the runtime's pages. Each processor caches at most
	// cachedPages of them.
	pageSize    = 8 << 10
	cachedPages = 64
	// headed objects with pointers have a header of one word.
	headed   = 512
	wordSize = int(unsafe.Sizeof(uintptr(0)))
)

// overwriteFree overwrites all free memory in spans that are in use. The
// allocator zeroes what it hands out, so objects of each size are allocated until
// the heap has to grow for more. Objects without pointers are in other spans than
// those with pointers.
//
// There is no collection meanwhile: while its sweep is under way, the heap may
// grow although there is free memory.
func overwriteFree() {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// First those pages that the processor caches: the spans that grow the heap
	// are made of them.
	fill(make([]unsafe.Pointer, 2*cachedPages), pageSize, func(n int) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(make([]byte, n))) })
	for _, size := range sizes() {
		untilGrowth(size, func(n int) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(make([]byte, n))) })
		if size < wordSize {
			continue
		}
		untilGrowth(size, func(n int) unsafe.Pointer {
			if n > headed {
				n -= wordSize
			}
			return unsafe.Pointer(unsafe.SliceData(make([]unsafe.Pointer, n/wordSize)))
		})
	}
}

// untilGrowth allocates objects of a size until they make the heap grow.
func untilGrowth(size int, allocate func(int) unsafe.Pointer) {
	var held [][]unsafe.Pointer
	for grown := uint64(0); grown < batch/2; {
		objects := make([]unsafe.Pointer, batch/size)
		held = append(held, objects)
		before := heapInUse()
		fill(objects, size, allocate)
		after := heapInUse()
		grown = after - min(before, after)
	}
	runtime.KeepAlive(held)
}

func fill(objects []unsafe.Pointer, size int, allocate func(int) unsafe.Pointer) {
	for i := range objects {
		objects[i] = allocate(size)
	}
}

// sizes are the sizes in which the runtime allocates small objects, in bytes.
func sizes() (all []int) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs-by-size:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil // a later runtime without it
	}
	// Each bucket begins one byte above a size.
	for _, above := range sample[0].Value.Float64Histogram().Buckets {
		if size := above - 1; size > 0 && !math.IsInf(size, 1) {
			all = append(all, int(size))
		}
	}
	return all
}

// heapInUse is the size of all spans with objects, in bytes.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(sample)
	sum := uint64(0)
	for _, s := range sample {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	return sum
}
