//go:build zookeeper && gpg

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"secretstore/internal/zktest"
)

// TestDocumentedProcedures types what DC/OS documented for its operators, with
// curl, xxd, the real gpg and ZooKeeper's own zkCli.sh.
func TestDocumentedProcedures(t *testing.T) {
	server := zktest.Start(t)
	runScripts(t, "../../testdata/script/procedures", func(env *testscript.Env) error {
		env.Setenv("ZK", server.Addr())
		// Where Debian's package has it; elsewhere it may be in the PATH.
		env.Setenv("PATH", env.Getenv("PATH")+":/usr/share/zookeeper/bin")
		return gnupgHome(env)
	}, people)
}
