package filetrust

import (
	"os"
	"path/filepath"
	"strings"
)

// Credential reports whether path is a credential of systemd (LoadCredential=).
//
// Such a file belongs to root, and an ACL lets the user of the service read it.
// Its mode shows that as a permission of the group, which has none.
func Credential(path string) bool {
	path = filepath.Clean(path)
	for _, dir := range []string{"/run/credentials", os.Getenv("CREDENTIALS_DIRECTORY")} {
		if dir != "" && strings.HasPrefix(path, filepath.Clean(dir)+"/") {
			return true
		}
	}
	return false
}
