// Package secrets holds the commands about single secrets, their versions, and
// folders of them. Values go to standard output or a file; what a command did goes to
// standard error, or with --json to standard output.
package secrets

import (
	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// Commands returns the commands about secrets.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{
		writeCommand(p, "create", "Create a secret",
			"  secretstore create team/db-password               # asks for the value\n"+
				"  secretstore create team/tls-key -t tls.key\n"+
				"  secretstore create team/keytab -f service.keytab", create),
		writeCommand(p, "update", "Replace the value of a secret",
			"  secretstore update team/db-password               # asks for the value\n"+
				"  pwgen -s 32 1 | tr -d '\\n' | secretstore update team/db-password", update),
		writeCommand(p, "put", "Create a secret or replace its value",
			"  secretstore put team/db-password                  # asks for the value\n"+
				"  secretstore put team/keytab -f service.keytab\n"+
				"  secretstore put team/db-password --if-version 3   # unless somebody else was first", put),
		getCommand(p), listCommand(p), searchCommand(p), treeCommand(p), historyCommand(p), diffCommand(p), rollbackCommand(p),
		copyCommand(p), moveCommand(p), deleteCommand(p), undeleteCommand(p), serviceAccountCommand(p),
	}
}
