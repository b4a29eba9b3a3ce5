//go:build zookeeper

package webtest

import (
	"strings"
	"testing"

	"secretstore/internal/zktest"
)

// TestSignInBegunAtOneServerEndsAtAnother: the provider sends the browser to the
// address of the cluster, where any server may answer.
func TestSignInBegunAtOneServerEndsAtAnother(t *testing.T) {
	const jane = "jane@example.com"
	zookeeper := zktest.Start(t)
	start := func() *Site {
		return StartIn(t, t.TempDir(), "--storage", "zk://"+zookeeper.Addr()+"/pages", "--oidc-create-users")
	}
	a := start()
	b := start()
	m := runProvider(t)
	a.trust(t, "corp", m, b.URL)
	provide(m, jane)
	f := newFollower(t)
	for known := false; !known; { // until B knows the provider
		_, page := f.open(b.URL + "/ui/sign-in")
		known = strings.Contains(page, "oidc-provider=corp")
	}
	res, page := f.signInAtProvider(a.URL+"/ui/", "corp")
	if got := res.Request.URL.String(); got != b.URL+"/ui/" || !strings.Contains(page, "<span>"+jane+"</span>") {
		t.Fatalf("%s: %s", got, page)
	}
	for known := false; !known; { // until A knows the account that B has made
		_, page := f.open(a.URL + "/ui/")
		known = strings.Contains(page, "<span>"+jane+"</span>")
	}
}
