package zktest

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"secretstore/internal/porttest"
)

// shared is the server that the tests of one process share.
var shared struct {
	mu     sync.Mutex
	server *Server // guarded by mu
	dir    string  // guarded by mu
}

// Shared returns host:port of a server that all tests of the process share, each
// below its own root. It is for tests that do not stop or pause the server.
// The TestMain of the package runs the tests with Main.
func Shared(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		dir, err := os.MkdirTemp("", "zktest")
		if err != nil {
			t.Fatal(err)
		}
		s := serverIn(t, dir, here, porttest.Free(t))
		defer func() {
			if shared.server == nil { // it did not start
				s.endShared(dir)
			}
		}()
		s.launch()
		s.await()
		shared.server, shared.dir = s, dir
	}
	return shared.server.Addr()
}

func (s *Server) endShared(dir string) {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		<-s.ended
	}
	_ = os.RemoveAll(dir)
}

// Main is a *testing.M that ends the shared server after the tests. Tests of
// ZooKeeper mostly wait for timeouts, so Main runs more of them at once than there
// are processors, unless -parallel says otherwise.
type Main struct{ M *testing.M }

const atOnce = 8

// Run runs the tests.
func (m Main) Run() int {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set(strconv.Itoa(max(atOnce, runtime.GOMAXPROCS(0))))
	}
	defer func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.server != nil {
			shared.server.endShared(shared.dir)
			shared.server = nil
		}
	}()
	return m.M.Run()
}
