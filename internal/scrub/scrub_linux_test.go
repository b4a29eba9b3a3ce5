package scrub

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestMemoryErasesGarbageBetweenObjectsInUse reads the memory of this process.
func TestMemoryErasesGarbageBetweenObjectsInUse(t *testing.T) {
	secret := newHidden()
	kept, objects := garbage(secret)
	if n := found(t, secret); n == 0 {
		t.Fatal("the secret is not found before")
	}
	Memory()
	if n := found(t, secret); n != 0 {
		t.Errorf("the secret is found %d times", n)
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(objects)
}

// TestDoLeavesNothingOnStacks has collections while the secret is on the stack,
// which the runtime then makes smaller if it can.
func TestDoLeavesNothingOnStacks(t *testing.T) {
	secret := newHidden()
	for range 20 {
		Do(func() { onStack(secret, 0) })
	}
	if n := found(t, secret); n != 0 {
		t.Errorf("the secret is found %d times", n)
	}
}

// onStack has the secret in each of many frames.
//
//go:noinline
func onStack(secret hidden, depth int) byte {
	var here [40]byte
	secret.reveal(here[:])
	if depth == 200 {
		runtime.GC()
		runtime.GC()
		return here[0]
	}
	return onStack(secret, depth+1) + here[depth%len(here)]
}

func found(t *testing.T, secret hidden) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	const window, overlap = 1 << 20, 31
	read := make([]byte, overlap+window)
	defer clear(read)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode, offset, device string
		var inode int64
		if _, err := fmt.Sscanf(line, "%x-%x %s %s %s %d", &from, &to, &mode, &offset, &device, &inode); err != nil || mode[:2] != "rw" || inode != 0 {
			continue // the vsyscall page has no signed address
		}
		for at := from; at < to; at += window {
			size := min(overlap+window, to-at)
			if _, err := memory.ReadAt(read[:size], at); err != nil {
				break // memory that is reserved only
			}
			n += secret.in(read[:size])
		}
	}
	return n
}
