package tasks

import (
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/forms"
)

func TestVariablesOfAFolderFollowTheDocumentedRule(t *testing.T) {
	for name, want := range map[string]string{
		"db": "DB", "db-password": "DB_PASSWORD", "tls/server.key": "TLS_SERVER_KEY", "API_KEY": "API_KEY", "2fa": "_2FA", "-": "_",
	} {
		if got := variableOf(name); got != want || !forms.IsVariable(got) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestVariablesOfAFolderDoNoHarm(t *testing.T) {
	set := func(name string) string {
		return map[string]string{"HOME": "/root"}[name]
	}
	listed := func(name string) variable { return variable{name: variableOf(name), path: "a/" + name, listed: true} }
	for _, c := range []struct {
		all  []variable
		want string // in the error; "" for none
	}{
		{[]variable{listed("db"), listed("git-token"), listed("ld")}, ""},
		{[]variable{listed("db-pw"), listed("DB_PW")}, "DB_PW is given twice: by a/db-pw and by a/DB_PW"},
		{[]variable{{name: "DB", path: "x"}, listed("db")}, "DB is given twice: by x and by a/db"},
		{[]variable{listed("home")}, "would replace the variable HOME"},
		{[]variable{{name: "HOME", path: "x"}}, ""},
		{[]variable{listed("ld-preload")}, "LD_PRELOAD"},
		{[]variable{{name: "LD_PRELOAD", path: "x"}}, ""},
		{[]variable{listed("path")}, "PATH"},
		{[]variable{listed("git/ssh-command")}, "GIT_SSH_COMMAND"},
		{[]variable{listed("secretstore/token")}, "SECRETSTORE_TOKEN"},
	} {
		err := checkVariables(c.all, set)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.all, err, c.want)
		}
	}
}
