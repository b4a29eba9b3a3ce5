//go:build long

package webtest

import "testing"

// TestBrowserSignsInAtAProvider ends with the cookie of the session, which is Strict:
// a browser does not send it with what follows from a link of the provider.
func TestBrowserSignsInAtAProvider(t *testing.T) {
	site := Start(t, "--oidc-create-users")
	m := runProvider(t)
	prefixed := *site
	prefixed.URL = site.behindPrefix(t, "/service/secrets")
	site.trust(t, "direct", m, site.URL)
	site.trust(t, "prefixed", m, prefixed.URL)
	for name, look := range map[string]Look{"with script": {}, "without script": {NoScript: true}} {
		for id, at := range map[string]*Site{"direct": site, "prefixed": &prefixed} {
			t.Run(id+" "+name, func(t *testing.T) {
				uid := id + "@example.com" // an account is for one provider
				provide(m, uid)
				tab := at.Open(t, look)
				tab.Go("/ui/keys")
				tab.Follow(`a[href*="oidc-provider=` + id + `"]`)
				tab.Await(".who span", uid)
				if got := tab.Location(); got != "/ui/keys" {
					t.Errorf("the sign-in leads to %s", got)
				}
				tab.Go("/ui/secrets")
				tab.Await(".who span", uid)
				tab.Follow(".who button")
				tab.Await("h1", "Signed out")
			})
		}
	}
}
