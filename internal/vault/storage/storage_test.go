package storage

import (
	"strings"
	"testing"
)

func TestNamesAndZnodesBelongTogether(t *testing.T) {
	for name, znode := range map[string]string{
		"a/b/c":      "/r/v/a/b/_c",
		"c":          "/r/v/_c",
		"_x":         "/r/v/__x",
		"_names/x":   "/r/v/_names/_x",
		"a/with b/é": "/r/v/a/with b/_é",
	} {
		if got := ZnodeOf("/r/v", name); got != znode {
			t.Errorf("%s is at %s", name, got)
		}
		if got, ok := NameOf("/r/v", znode); got != name || !ok {
			t.Errorf("%s holds %s, %v", znode, got, ok)
		}
	}
	for _, znode := range []string{"/r/v", "/r/v/x", "/r/v/_", "/r/vault/_x", "/other/_x", "_x"} {
		if got, ok := NameOf("/r/v", znode); ok {
			t.Errorf("%s holds %q", znode, got)
		}
	}
}

func TestDumpHasOneVault(t *testing.T) {
	const ring = `{"path":"/r/core/_keyring","data":"eA=="}` + "\n"
	root, records, err := ParseDump([]byte(ring + `{"path":"/r/_f","data":null}` + "\n\n" + `{"path":"/r/_f/_x","data":"eQ=="}`))
	if err != nil || root != "/r" || len(records) != 2 || string(records["_f/x"]) != "y" {
		t.Errorf("%s, %v, %v", root, records, err)
	}
	for text, want := range map[string]string{
		"":          errNoRoot.Error(),
		ring + ring: "line 2: " + errTwice.Error(),
		ring + `{"path":"/s/core/_keyring","data":"eA=="}`: errRoots.Error(),
		ring + `{"path":"relative","data":null}`:           "line 2: " + errLine.Error(),
		ring + `{"path":"/x","data":"%"}`:                  "line 2: " + errLine.Error(),
		ring + `{"data":null}`:                             "line 2: " + errLine.Error(),
		"\n" + strings.Repeat("x", 10):                     "line 2: " + errLine.Error(),
	} {
		if _, _, err := ParseDump([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add([]byte(`{"path":"/r/core/_keyring","data":"eA=="}` + "\n" + `{"path":"/r/a/_b","data":"eQ=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, records, err := ParseDump(data)
		if (err == nil) != (records != nil) {
			t.Errorf("%v, %v", records, err)
		}
		for name := range records {
			if back, ok := NameOf(root, ZnodeOf(root, name)); !ok || back != name {
				t.Errorf("%q in %q", name, root)
			}
		}
	})
}
