package authority_test

import (
	"errors"
	"strings"
	"testing"

	"secretstore/iam"
	"secretstore/iam/authority"
)

// cheapHash is that of the password "correct horse", with the fewest rounds.
const cheapHash = "$6$rounds=1000$nEh8/05XtcKTPMgQ$hilhszFu7LsWVKxnxgzfJrC1q3GySadEOWoVBSGzX7rtRtYSdJynMeI20XYoFer2RYIs.Y8RnEPkcc7Qj3OCU."

func TestTheFileOfSuperusersIsReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"# nobody\n\n":      "",
		"root:" + cheapHash: "",
		"root:" + cheapHash + "\nb@c.d:" + cheapHash + "\n": "",
		"root":                                "line 1: it is not UID:HASH",
		"# x\nro ot:" + cheapHash:             "line 2: the name before the colon",
		":" + cheapHash:                       "line 1: the name before the colon",
		"anonymous:" + cheapHash:              "line 1: the name before the colon",
		"root:correct horse":                  "line 1: the password hash is not",
		"root:" + cheapHash + " ":             "line 1: the password hash is not",
		"root:" + cheapHash + "\r\n":          "line 1: the password hash is not",
		"r:" + cheapHash + "\nr:" + cheapHash: "line 2: an earlier line names the same user",
		"root:$6$rounds=999999999$a$" + strings.Repeat("k", 86): "line 1: the password hash is not",
		strings.Repeat("x\n", 5000):                             "more than 1000 lines",
	} {
		s, err := authority.ParseSuperusers([]byte(text))
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || s.Len() != 0) {
			t.Errorf("%.80q: %v", text, err)
		}
		if err != nil && (strings.Contains(err.Error(), "correct horse") || strings.Contains(err.Error(), "$6$")) {
			t.Errorf("the error repeats the line: %v", err)
		}
	}
}

func FuzzSuperusers(f *testing.F) {
	f.Add([]byte("root:" + cheapHash + "\n# x\n\n"))
	f.Add([]byte("a:b\nc"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := authority.ParseSuperusers(content)
		if err != nil && s.Len() != 0 {
			t.Fatal("refused, and there are superusers")
		}
		if s.Len() > strings.Count(string(content), ":") {
			t.Fatal("superusers that no line names")
		}
	})
}

func TestSuperusersOfTheFileAreListedAndReadOnly(t *testing.T) {
	a := unsealed(t, newCluster().server(), "root:"+cheapHash)
	addUser(t, a, iam.User{UID: "alice"})
	check := func(want bool) {
		t.Helper()
		d, err := a.Directory()
		if err != nil {
			t.Fatal(err)
		}
		u, err := d.User("root")
		if (err == nil) != want || want && (u.Description != "Bootstrap superuser" || u.Hash != "") {
			t.Errorf("%+v, %v", u, err)
		}
		if members := d.Members(iam.Superusers); (len(members) == 1) != want || d.IsSuperuser("root") != want {
			t.Errorf("members: %v", members)
		}
	}
	check(true)
	d, _ := a.Directory()
	for name, call := range map[string]func() (iam.Change, error){
		"update": func() (iam.Change, error) { return d.UpdateUser("root", iam.UserUpdate{Description: new(string)}) },
		"delete": func() (iam.Change, error) { return d.DeleteUser("root") },
		"create": func() (iam.Change, error) { return d.CreateUser(iam.User{UID: "root"}, admin()) },
		"member": func() (iam.Change, error) { return d.RemoveMember(iam.Superusers, "root") },
		"revoke": func() (iam.Change, error) { return d.RevokeTokens("root") },
	} {
		var refusal *iam.Error
		if _, err := call(); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.SetSuperusers(authority.Superusers{})
	check(false)
}
