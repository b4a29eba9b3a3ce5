//go:build long && zookeeper

package webtest

import (
	"testing"

	"secretstore/internal/zktest"
)

// TestPagesOfTwoServersOnZooKeeper visits the pages of one server in a session of
// another.
func TestPagesOfTwoServersOnZooKeeper(t *testing.T) {
	storage := "zk://" + zktest.Start(t).Addr() + "/pages"
	a := Start(t, "--storage", storage, "--audit-log", t.TempDir()+"/audit.log")
	crowded(t, a)
	b := Start(t, "--storage", storage, "--audit-log", t.TempDir()+"/audit.log")
	for name, look := range map[string]Look{"script": {Width: 360, Dark: true}, "no script": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := a.Open(t, look)
			tab.SignIn("root")
			tab.site = b // cookies do not know ports
			visit(tab, look, stopsOfSuperuser(b))
			tab.Go("/ui/")
			if got := tab.Text(".who span"); got != "root" {
				t.Fatalf("at the other server, %q has signed in", got)
			}
		})
	}
	t.Run("a sign-out at one ends the session at the other", func(t *testing.T) {
		here := browse{t, a.URL}
		cookie, form := here.signIn(a.Token(t, "root"))
		there := browse{t, b.URL}
		if there.isOut(cookie) {
			t.Fatal("the other server does not know the session")
		}
		there.do("POST", "/ui/sign-out", cookie, map[string][]string{"form-token": {form}})
		for !here.isOut(cookie) { // it hears of that by a watch
			if t.Context().Err() != nil {
				return
			}
		}
	})
}

// TestBarFollowsTheStorage while a page is open, without loading it again.
func TestBarFollowsTheStorage(t *testing.T) {
	zookeeper := zktest.Start(t)
	site := Start(t, "--storage", "zk://"+zookeeper.Addr()+"/bar")
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	Eval[bool](tab, "window.same = true")
	zookeeper.Pause()
	tab.Await("#bar", "torage") // it says what is wrong
	t.Logf("while ZooKeeper hangs, the bar says: %s", tab.Text("#bar"))
	zookeeper.Resume()
	tab.AwaitGone("#bar p")
	if !Eval[bool](tab, "window.same === true") {
		t.Error("the page was loaded again")
	}
}
