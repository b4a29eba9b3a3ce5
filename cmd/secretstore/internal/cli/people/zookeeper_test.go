//go:build zookeeper

package people

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/zktest"
)

// TestUsersOfOpenDCOSAreReadFromZooKeeper reads them where every client may, and where
// only one user may.
func TestUsersOfOpenDCOSAreReadFromZooKeeper(t *testing.T) {
	server := zktest.Start(t).Addr()
	conn, _, err := zkc.Connect([]string{server}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closed := zkc.DigestACL(zkc.PermAll, "dcos", "secret")
	for _, path := range []string{"/dcos", "/dcos/users", "/dcos/users/b@example.com", "/dcos/users/a@example.com", "/closed", "/closed/users"} {
		acl := zkc.WorldACL(zkc.PermAll)
		if path == "/closed/users" {
			acl = closed
		}
		if _, err := conn.Create(path, nil, 0, acl); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	auth := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(auth, []byte("dcos:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		from  userSource
		names []string
		err   string
	}{
		{userSource{from: "zk://" + server}, []string{"a@example.com", "b@example.com"}, ""},
		{userSource{from: "zk://" + server + "/"}, []string{"a@example.com", "b@example.com"}, ""},
		{userSource{from: "zk://" + server + "/dcos/users"}, []string{"a@example.com", "b@example.com"}, ""},
		{userSource{from: "zk://" + server + "/other"}, nil, "ZooKeeper has no znode /other"},
		{userSource{from: "zk://" + server + "/closed/users"}, nil, "--zk-auth-file"},
		{userSource{from: "zk://" + server + "/closed/users", auth: auth}, nil, ""},
	} {
		names, err := row.from.names(t.Context(), &base.Process{})
		if !slices.Equal(names, row.names) || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, %v", row.from.from, names, err)
		}
	}
}
