package web

import "testing"

func TestGrantsAreForWhatWasChosen(t *testing.T) {
	for _, tt := range []struct{ on, path, want string }{
		{"secret", "team/db", "dcos:secrets:default:/team/db"},
		{"secret", " /team/db/ ", "dcos:secrets:default:/team/db"},
		{"folder", "team", "dcos:secrets:default:/team/*"},
		{"folder", "/team/app/", "dcos:secrets:default:/team/app/*"},
		{"folder", "/", "dcos:secrets:default:/*"},
		{"list", "team/", "dcos:secrets:list:default:/team"},
		{"list", "/", "dcos:secrets:list:default:/"},
		{"resource", "dcos:superuser", "dcos:superuser"},
		{"", "dcos:secrets:default:/a", "dcos:secrets:default:/a"},
	} {
		if got, err := grantedResource(tt.on, tt.path); err != nil || got != tt.want {
			t.Errorf("%s of %q: %s, want %s: %v", tt.on, tt.path, got, tt.want, err)
		}
	}
	for _, on := range []string{"secret", "folder", "list"} {
		for _, bad := range []string{"a b", "a/../b", "a%", `a"`, "a/*/b", "a//b"} {
			if got, err := grantedResource(on, bad); err == nil {
				t.Errorf("%s of %q: %s", on, bad, got)
			}
		}
	}
	if got, err := grantedResource("secret", "/"); err == nil {
		t.Errorf("the root is the secret %s", got)
	}
}
