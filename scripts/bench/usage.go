package main

import (
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// usage is what was used so far; only differences are meaningful.
type usage struct {
	requests              float64
	server, zooKeeper     float64 // µs of CPU
	packets, transactions float64 // received and made by ZooKeeper
}

// use reads the counters, those of the servers as their sum. zk may be nil.
func use(zk *zooKeeper, servers ...*server) usage {
	u := usage{requests: float64(sent.Load())}
	for _, s := range servers {
		u.server += float64(s.cpu().Microseconds())
	}
	if zk != nil {
		u.zooKeeper = float64(zk.cpu().Microseconds())
		u.packets, u.transactions = zk.counters()
	}
	return u
}

func (u usage) plus(v usage) usage {
	return usage{u.requests + v.requests, u.server + v.server, u.zooKeeper + v.zooKeeper, u.packets + v.packets, u.transactions + v.transactions}
}

func (u usage) minus(v usage) usage {
	return u.plus(usage{-v.requests, -v.server, -v.zooKeeper, -v.packets, -v.transactions})
}

// each returns the share of one request.
func (u usage) each() usage {
	n := max(1, u.requests)
	return usage{1, u.server / n, u.zooKeeper / n, u.packets / n, u.transactions / n}
}

// counters returns how many packets ZooKeeper has received, and the number of
// its last transaction; zeros if there is no answer.
func (z *zooKeeper) counters() (packets, transactions float64) {
	conn, err := net.Dial("tcp", z.addr)
	if err != nil {
		return 0, 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return 0, 0
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(answer)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Received":
			packets, _ = strconv.ParseFloat(value, 64)
		case "Zxid":
			zxid, _ := strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 64)
			transactions = float64(zxid & 0xffffffff) // the rest is the epoch
		}
	}
	return packets, transactions
}
