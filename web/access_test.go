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
		if got := grantedResource(tt.on, tt.path); got != tt.want {
			t.Errorf("%s of %q: %s, want %s", tt.on, tt.path, got, tt.want)
		}
	}
}
