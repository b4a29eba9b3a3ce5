//go:build long

package webtest

import (
	"context"
	"strings"
	"testing"

	"secretstore/api/client"
	"secretstore/api/wire"
)

func TestAccountsAndGroupsAreManaged(t *testing.T) {
	site := Start(t)
	tab := site.Open(t, Look{NoScript: true})
	tab.SignIn("root")

	tab.Go("/ui/access")
	tab.Click("#users ~ details summary")
	tab.Type("form:has([value=user]) [name=id]", "alice")
	tab.Type("form:has([value=user]) [name=description]", `<b onclick="x()">Alice`)
	tab.Type("form:has([value=user]) [name=password]", "a long <password>")
	tab.Follow("form:has([value=user]) button")
	if got, text := tab.Location(), tab.Text("main"); got != "/ui/account?done=created&uid=alice" || !strings.Contains(text, `<b onclick="x()">Alice`) {
		t.Fatalf("after the user was made: %s\n%s", got, text)
	}

	tab.Go("/ui/access")
	tab.Click("#groups ~ details summary")
	tab.Type("form:has([value=group]) [name=id]", "team")
	tab.Follow("form:has([value=group]) button")
	tab.Type("form:has([value=join]) [name=uid]", "alice")
	tab.Follow("form:has([value=join]) button")
	tab.Click("details summary")
	tab.Type("form:has([value=grant]) [name=path]", "team/")
	tab.Follow("form:has([value=grant]) button")

	alice := site.signedIn(t, "alice", "a long <password>")
	if _, err := alice.List(t.Context(), "team"); err == nil {
		t.Error("alice may list without a grant to do so")
	}
	tab.Go("/ui/explain?uid=alice&action=read&path=team/db")
	for _, want := range []string{"alice may read team/db", "by the group team", "Who can read team/db"} {
		if text := tab.Text("main"); !strings.Contains(text, want) {
			t.Errorf("the explanation does not say %q:\n%s", want, text)
		}
	}
	tab.Go("/ui/account?uid=alice")
	if text := tab.Text("main"); !strings.Contains(text, "dcos:secrets:default:/team/*") {
		t.Errorf("the account has no grant of its group:\n%s", text)
	}

	tab.Go("/ui/group?gid=team")
	tab.Follow("form:has([value=revoke]) button")
	tab.Go("/ui/explain?uid=alice&action=read&path=team/db")
	if text := tab.Text("main"); !strings.Contains(text, "alice may not read team/db") || !strings.Contains(text, "missing") {
		t.Errorf("the grant was not revoked:\n%s", text)
	}

	tab.Go("/ui/account?uid=alice")
	tab.Type("form:has([value=delete]) [name=confirm]", "bob")
	if status := tab.Follow("form:has([value=delete]) button"); status != 400 {
		t.Errorf("another name confirms the deletion: %d", status)
	}
	tab.Type("form:has([value=delete]) [name=confirm]", "alice")
	tab.Follow("form:has([value=delete]) button")
	if _, err := site.As(t, "root").Identities().User(t.Context(), "alice"); err == nil {
		t.Error("alice was not deleted")
	}
}

// signedIn returns a client of the API for a user with a password.
func (s *Site) signedIn(t testing.TB, uid, password string) *client.Client {
	t.Helper()
	token, err := s.As(t, "nobody").Identities().SignIn(t.Context(), wire.Login{UID: &uid, Password: wire.Password(password)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: s.URL, Token: func(context.Context) (string, error) { return token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestKeysAreRotatedAndTheStoreIsSealed(t *testing.T) {
	site := Start(t)
	tab := site.Open(t, Look{Width: 360, Dark: true, NoScript: true})
	tab.SignIn("root")
	tab.Go("/ui/servers")
	if text := tab.Text("main"); !strings.Contains(text, "unsealed") {
		t.Errorf("the server does not show itself:\n%s", text)
	}
	tab.Go("/ui/keys")
	tab.Follow("form:has([value=rotate]) button")
	rotation, err := site.As(t, "root").RotationStatus(t.Context())
	if err != nil || rotation.Term != 2 {
		t.Errorf("the data key was not rotated: %+v, %v", rotation, err)
	}
	tab.Type("[name=confirm]", "yes")
	if status := tab.Follow("form:has([value=seal]) button"); status != 400 {
		t.Errorf("any word seals: %d", status)
	}
	tab.Type("[name=confirm]", "seal")
	tab.Follow("form:has([value=seal]) button")
	status, err := site.As(t, "root").SealStatus(t.Context())
	if err != nil || !status.Sealed {
		t.Errorf("the store is not sealed: %+v, %v", status, err)
	}
}

func TestPagesForSuperusersNameWhatIsMissing(t *testing.T) {
	site := Start(t)
	tab := site.Open(t, Look{NoScript: true})
	tab.SignIn("bob")
	for _, page := range []string{"keys", "servers", "audit", "access", "account?uid=admin", "group?gid=superusers"} {
		status := tab.Go("/ui/" + page)
		if text := tab.Text("main"); status != 403 || !strings.Contains(text, "superuser") {
			t.Errorf("%s: %d\n%s", page, status, text)
		}
	}
	if status := tab.Go("/ui/explain?action=read&path=team/db"); status != 200 || !strings.Contains(tab.Text("main"), "missing") {
		t.Errorf("bob cannot ask about himself: %d\n%s", status, tab.Text("main"))
	}
	if status := tab.Go("/ui/explain?action=read&path=team/db&uid=admin"); status != 403 {
		t.Errorf("bob may ask about others: %d", status)
	}
}

func TestDefinitionsAreChecked(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	if err := root.CreateText(t.Context(), "team/db", wire.SecretWrite{Value: "v"}); err != nil {
		t.Fatal(err)
	}
	tab := site.Open(t, Look{NoScript: true})
	tab.SignIn("root")
	tab.Go("/ui/check")
	const definition = `{"id":"/team","env":{"A":{"secret":"a"},"P":"<pass&word>"},"secrets":{"a":{"source":"team/db"}}}`
	tab.Type("textarea", definition)
	tab.Follow("main button")
	if text := tab.Text("main"); !strings.Contains(text, "All secrets exist") {
		t.Errorf("a good definition:\n%s", text)
	}
	if got := Eval[string](tab, "document.querySelector('textarea').value"); got != definition {
		t.Errorf("the definition comes back as %s", got)
	}
	tab.Go("/ui/check")
	tab.Type("textarea", strings.Replace(definition, "team/db", "team/none", 1))
	tab.Follow("main button")
	if text := tab.Text("main table"); !strings.Contains(text, "does not exist") || !strings.Contains(text, "Create team/none") {
		t.Errorf("a missing secret:\n%s", text)
	}
	tab.Go("/ui/check")
	tab.Type("textarea", "no JSON")
	if status := tab.Follow("main button"); status != 400 {
		t.Errorf("a text that is not JSON: %d\n%s", status, tab.Text("main"))
	}
}

func TestSuperusersSeeTheAuditLog(t *testing.T) {
	site := Start(t, "--audit-log", t.TempDir()+"/audit.log")
	if _, err := site.As(t, "<i>eve").List(t.Context(), "team"); err == nil {
		t.Fatal("a stranger may list")
	}
	tab := site.Open(t, Look{NoScript: true})
	tab.SignIn("root")
	tab.Go("/ui/audit")
	if text := tab.Text("main"); !strings.Contains(text, "<i>eve") || !strings.Contains(text, "audit.log") || !strings.Contains(text, "secret.list") {
		t.Errorf("the list is not in the log:\n%s", text)
	}
	tab.Type("[name=filter]", "<I>eve")
	tab.Follow("main button")
	if n := Eval[int](tab, "document.querySelectorAll('main tbody tr').length"); n != 1 {
		t.Errorf("the filter shows %d lines", n)
	}
	tab.Go("/ui/audit?filter=audit.show")
	if text := tab.Text("main"); !strings.Contains(text, "audit.show") {
		t.Errorf("looking at the log is not in the log:\n%s", text)
	}
	bob := site.Open(t, Look{NoScript: true})
	bob.SignIn("bob")
	if status := bob.Go("/ui/audit"); status != 403 {
		t.Errorf("bob sees the audit log: %d", status)
	}
}
