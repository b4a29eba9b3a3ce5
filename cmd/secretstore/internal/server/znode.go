package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/acl/token"
)

// znodeKey reads the HS256 key of tokens from a znode. It has a connection of
// its own: the znode belongs to others (in DC/OS, to the authentication
// service) and lies outside the ROOT to which package zk keeps.
type znodeKey struct {
	servers []string
	session time.Duration
	access  zkAccess
	path    string
	log     *zap.Logger
}

// watch puts the key in force, now and whenever it changes, until ctx is done.
// It asks every pollEvery: a read costs ZooKeeper next to nothing, and unlike
// its watches a poll cannot be lost. While ZooKeeper does not answer, the key
// from before stays.
func (z *znodeKey) watch(ctx context.Context, set func(key []byte) error, w token.Watch) {
	conn, events, err := zkc.Connect(z.servers, z.session,
		zkc.WithDialer(z.dial), zkc.WithHostProvider(&inTurn{}), zkc.WithLogger(quiet{z.log}), zkc.WithLogInfo(false))
	if err != nil {
		w.Report(err)
		return
	}
	stop := context.AfterFunc(ctx, conn.Close) // ends a call that is waiting
	defer func() {
		if stop() {
			conn.Close()
		}
		for range events { // closed when the library's goroutines have ended
		}
	}()
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	var last [sha256.Size]byte
	failure, known := "", false
	for proved := z.access.user == ""; ; {
		if !proved {
			// The library proves it again on each later connection.
			err = conn.AddAuth("digest", []byte(z.access.user+":"+z.access.password))
			proved = err == nil
		}
		var raw []byte
		if proved {
			raw, _, err = conn.Get(z.path)
		}
		sum := sha256.Sum256(raw)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != failure:
			failure = err.Error()
			w.Report(fmt.Errorf("read %s: %w", z.path, err))
		case err == nil && (!known || sum != last || failure != ""):
			last, known, failure = sum, true, ""
			w.Report(set(token.FirstLine(raw)))
		}
		clear(raw)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// dial is the library's dialer. It resolves the name of the server anew for
// each connection, and checks its certificate by that name.
func (z *znodeKey) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: timeout}
	if z.access.tls == nil {
		return dialer.Dial(network, address)
	}
	return tls.DialWithDialer(dialer, network, address, z.access.tls)
}

// inTurn has the library try the servers one after the other, by name.
type inTurn struct {
	servers []string
	next    int
	up      atomic.Bool // a server was reached since the last round began
}

// Init implements zk.HostProvider.
func (p *inTurn) Init(servers []string) error {
	p.servers = servers
	return nil
}

// Len implements zk.HostProvider.
func (p *inTurn) Len() int { return len(p.servers) }

// Next implements zk.HostProvider. After a round without success the library
// fails the calls that wait, and pauses.
func (p *inTurn) Next() (server string, retryStart bool) {
	server = p.servers[p.next%len(p.servers)]
	retryStart = p.next > 0 && p.next%len(p.servers) == 0 && !p.up.Swap(false)
	p.next++
	return server, retryStart
}

// Connected implements zk.HostProvider.
func (p *inTurn) Connected() { p.up.Store(true) }

// quiet passes on what the library says at debug level. It knows paths and
// addresses, no data and no credentials.
type quiet struct{ log *zap.Logger }

func (q quiet) Printf(format string, args ...any) {
	q.log.Debug("ZooKeeper client", zap.String("says", fmt.Sprintf(format, args...)))
}
