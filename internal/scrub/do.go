//go:build !goexperiment.runtimesecret

package scrub

// Do runs f on its own stack, and erases what f left on it.
func Do(f func()) {
	failure := make(chan any)
	go func() { failure <- apart(f) }()
	if p := <-failure; p != nil {
		panic(p)
	}
}

// A stack that is too small, or hardly used, is copied to another one, and the
// old one stays as it is until another goroutine uses it. So the stack must have
// its size before f runs, and keep it: a collection halves a stack of which less
// than a quarter is in use. The space that is in use above f, and the room below
// it that is erased, together fill most of a stack of 256 KiB.
//
// Variables of more than 128 KiB are not on the stack.
const (
	spaceAbove = 96 << 10
	roomForF   = 120 << 10
)

// apart runs f, and returns with what f panicked, if it did.
//
//go:noinline
func apart(f func()) any {
	var space [spaceAbove]byte
	defer use(space[:])
	erase()
	failure := recovered(f)
	erase()
	return failure
}

//go:noinline
func recovered(f func()) (failure any) {
	defer func() { failure = recover() }()
	f()
	return nil
}

// erase overwrites the stack below its caller.
//
//go:noinline
func erase() {
	var room [roomForF]byte
	use(room[:])
}

//go:noinline
func use(b []byte) { b[0] = 1 }
