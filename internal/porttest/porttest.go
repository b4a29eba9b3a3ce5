// Package porttest gives tests the ports of servers that are started later, or again.
// Only tests may import it.
//
// A port that the system chose, and that was closed again, may be its next choice for
// a connection or for another test. The ports of this package are below those that
// systems choose, and each process has its own.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports from first on are divided into blocks. Who listens on the first port of a
// block may use the others.
const (
	first  = 12000
	blocks = 200
	size   = 100
)

// mine are the blocks of this process.
var mine struct {
	mu        sync.Mutex
	held      []net.Listener // on their first ports, until the process ends; guarded by mu
	next, end int            // the rest of the newest one; guarded by mu
}

// Free returns a port of the loopback on which nothing listens. It returns each once,
// and no other process that uses this package gets it.
func Free(t testing.TB) int {
	t.Helper()
	mine.mu.Lock()
	defer mine.mu.Unlock()
	for {
		if mine.next == mine.end && !hold() {
			t.Fatal("porttest: no port is free")
		}
		port := mine.next
		mine.next++
		if l, err := listen(port); err == nil {
			l.Close()
			return port
		}
	}
}

// hold takes a block that nobody has. The caller holds mine.mu.
func hold() bool {
	for _, block := range rand.Perm(blocks) {
		if l, err := listen(first + block*size); err == nil {
			mine.held = append(mine.held, l)
			mine.next, mine.end = first+block*size+1, first+(block+1)*size
			return true
		}
	}
	return false
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
}
