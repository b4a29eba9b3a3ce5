package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// zooKeeper is a ZooKeeper server configured as in production: writes reach the
// disk, the compiler optimizes fully, and Java chooses the garbage collector.
// (The serial collector of scripts/zookeeper needs little memory, but stopped
// the process for up to 95 ms twice a second.)
type zooKeeper struct {
	*process
	addr string
}

func startZooKeeper(ctx context.Context, dir string) (*zooKeeper, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "scripts/zookeeper", "run", filepath.Join(dir, "zookeeper"), "--port", port)
	cmd.Env = append(os.Environ(), "ZOOKEEPER_OPTS=-Xmx3g -XX:-UseSerialGC -XX:TieredStopAtLevel=4 -Dzookeeper.forceSync=yes")
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	z := &zooKeeper{process: p, addr: addr}
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		if serves(addr) {
			return z, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("ZooKeeper did not start (run `make bench` from the top of the project)\n%s", p.errs.String())
}

// serves reports whether the server answers clients. It asks with the command
// srvr, because the port is open earlier.
func serves(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	// A server that is starting may never answer an early srvr.
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return false
	}
	answer, err := io.ReadAll(conn)
	return err == nil && bytes.Contains(answer, []byte("Mode:"))
}
