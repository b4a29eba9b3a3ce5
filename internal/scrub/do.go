//go:build !goexperiment.runtimesecret

package scrub

// Do runs f on a stack of its own, whose memory is returned to the system by the
// next Memory.
func Do(f func()) {
	failure := make(chan any)
	go func() {
		defer func() { failure <- recover() }()
		grow()
		f()
	}()
	if p := <-failure; p != nil {
		panic(p)
	}
}

// stackSize is larger than the stacks that share pages with others, which have
// less than 32 KiB, and so large that f does not outgrow it: then the runtime
// would copy it and leave the old one behind. A collection halves a stack that is
// hardly used, so f must not last for several.
const stackSize = 256 << 10

// grow makes the stack of the goroutine larger than stackSize.
//
//go:noinline
func grow() {
	var space [stackSize]byte
	use(&space)
}

//go:noinline
func use(space *[stackSize]byte) { space[0] = 1 }
