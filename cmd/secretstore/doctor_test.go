//go:build zookeeper

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"github.com/rogpeppe/go-internal/testscript"

	"secretstore/api/wire"
	"secretstore/internal/zktest"
)

// superSecret is the digest of super:secret.
const superSecret = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="

// TestDoctorFindsEachWeaknessAndNoneInTheDocumentedSetUp: the server without
// protection is made up, because a server protects itself. All else is real.
func TestDoctorFindsEachWeaknessAndNoneInTheDocumentedSetUp(t *testing.T) {
	t.Parallel()
	weak := zktest.Start(t, zktest.Super(superSecret))
	sound := zktest.Start(t)
	peer := httptest.NewServer(http.HandlerFunc(unprotected))
	t.Cleanup(peer.Close)
	_, port, err := net.SplitHostPort(weak.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, events, err := zkc.Connect([]string{weak.Addr()}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	z := zookeeper{conn}
	runScripts(t, "../../testdata/script/doctor", func(env *testscript.Env) error {
		env.Setenv("ZK", weak.Addr())
		env.Setenv("ANY", "0.0.0.0:"+port) // the same, by an address that is not loopback
		env.Setenv("SOUND", sound.Addr())
		env.Setenv("PEER", peer.URL)
		return nil
	}, map[string]command{"zkset": z.set, "zksetacl": z.setACL, "zkfind": z.find, "expired": cmdExpired})
}

// unprotected answers as a server does that can be dumped and swapped out, with a
// wrong clock, a full disk, and a holder whose key ends.
func unprotected(w http.ResponseWriter, r *http.Request) {
	soon := time.Now().Add(time.Hour)
	var doc any = wire.Keys{Holders: []wire.KeyHolder{{Fingerprint: "0123abcd", Expires: &soon}}}
	if r.URL.Path == "/secrets/v1/seal-status/default" {
		doc = wire.SealStatus{Server: &wire.ServerReport{
			State: "unsealed", Storage: wire.StorageFull, Faults: []wire.Fault{{Kind: wire.FaultDisk, Text: "the disk is full\x1b[2J"}},
			Host: &wire.HostReport{Dumpable: true, CoreLimit: -1, Swap: wire.SwapPlain, Swapped: 12 << 10, Time: time.Now().Add(-time.Hour),
				StorageClock: &wire.ClockDifference{Ahead: -100}},
		}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc) // a client that has gone
}

// cmdExpired makes a certificate that has expired.
func cmdExpired(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(errors.Join(
		os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)))
}
