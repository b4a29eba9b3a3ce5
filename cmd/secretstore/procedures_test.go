//go:build zookeeper && gpg

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// gpgTests are those of TestWithZooKeeper that need gpg as well.
func gpgTests() map[string]func(t *testing.T, zookeeper string) {
	return map[string]func(*testing.T, string){
		"documented procedures": documentedProcedures,
		"documented commands": func(t *testing.T, zookeeper string) {
			runPages(t, ".zookeeper.sh", []string{"ZK=" + zookeeper})
		},
		"crash during rekey": crashDuringRekey,
	}
}

// documentedProcedures types what DC/OS documented for its operators, with curl,
// xxd, the real gpg and ZooKeeper's own zkCli.sh.
func documentedProcedures(t *testing.T, addr string) {
	runScripts(t, "../../testdata/script/procedures", func(env *testscript.Env) error {
		env.Setenv("ZK", addr)
		// Where Debian's package has it; elsewhere it may be in the PATH.
		env.Setenv("PATH", env.Getenv("PATH")+":/usr/share/zookeeper/bin")
		return gnupgHome(env)
	}, people)
}
