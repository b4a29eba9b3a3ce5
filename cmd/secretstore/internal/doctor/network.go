package doctor

import (
	"fmt"
	"net"
	"slices"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/seal"
)

func checkDev(f *Facts) []Finding {
	if !f.Config.Dev {
		return nil
	}
	return []Finding{{CheckDev, Warning, "--dev", "this is a development set-up: anyone who can read the folder .secretstore-dev can read every secret",
		"set up a server as docs/installation.md says; this one can be tried and thrown away"}}
}

// checkListener does not mind strict mode, in which plain HTTP only redirects.
func checkListener(f *Facts) []Finding {
	if f.PlainHTTP == "" || f.Config.SecurityMode == seal.ModeStrict || loopback(f.PlainHTTP) {
		return nil
	}
	return []Finding{{CheckTLS, Serious, f.PlainHTTP,
		"plain HTTP is served beyond this machine: tokens and secrets cross the network unencrypted",
		"--listen 127.0.0.1:1337 --tls-listen ADDR --tls-cert-file CERT --tls-key-file KEY"}}
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && config.IsLoopback(host)
}

func checkZooKeeperPlain(f *Facts) []Finding {
	c := f.Config
	far := slices.IndexFunc(c.Storage.Servers, func(s string) bool { return !loopback(s) })
	if c.Storage.Kind != config.ZooKeeper || c.ZKTLSCA != "" || c.ZKTLSCert != "" || far < 0 {
		return nil
	}
	what, severity := "everything that is kept in ZooKeeper", Warning
	if c.ZKAuthFile != "" {
		what = "the password of --zk-auth-file, and everything that is kept in ZooKeeper,"
	}
	text := fmt.Sprintf("%s cross the network to ZooKeeper without TLS: somebody on the way can read and change the records", what)
	if f.opensItself() {
		severity = Serious
		text += ", among them the key that opens all secrets"
	}
	return []Finding{{CheckZKPlain, severity, c.Storage.Servers[far], text,
		"give ZooKeeper a secureClientPort, name it in --storage, and add --zk-tls-ca CA (and --zk-tls-cert CERT --zk-tls-key KEY)"}}
}
