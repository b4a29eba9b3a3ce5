package people

import (
	"slices"
	"strings"
	"testing"
)

func TestUsersAreTheZnodesDirectlyBelowTheirFolder(t *testing.T) {
	names, err := usersInDump([]byte(`{"path":"/dcos/users","data":""}` + "\n\n" +
		`{"path":"/dcos/users/a@example.com","data":"e30="}` + "\r\n" + `{"path":"/dcos/users/a@example.com/x"}` + "\n" + `{"path":"/other"}`))
	if err != nil || !slices.Equal(names, []string{"a@example.com"}) {
		t.Errorf("%q, %v", names, err)
	}
	for _, text := range []string{"", `{"path":"/dcos"}`, "a@example.com", `{"path":"/dcos/users/a@example.com"`, `[]`, `{"path":"dcos/users/a"}`} {
		if names, err := usersInDump([]byte(text)); err == nil {
			t.Errorf("%q: %q", text, names)
		}
	}
}

func TestNamesThatNoProviderSignsInAreRefused(t *testing.T) {
	for name, ok := range map[string]bool{
		"a@example.com": true, "a.b_c-d@x.y": true, "admin": false, "a+b@example.com": false, "a@b": false, "a@b@c.d": false,
		strings.Repeat("a", 97) + "@example.com": false, "ä@example.com": false, "": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzUsersInDump(f *testing.F) {
	f.Add([]byte(`{"path":"/dcos/users/a@example.com"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := usersInDump(data)
		if (err == nil) != (len(names) > 0) {
			t.Fatalf("%q, %v", names, err)
		}
		for _, name := range names {
			if name == "" || strings.Contains(name, "/") {
				t.Fatalf("%q", name)
			}
		}
	})
}
