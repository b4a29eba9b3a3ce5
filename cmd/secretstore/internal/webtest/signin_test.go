package webtest

import (
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestPeopleSignInAndOut(t *testing.T) {
	site := Start(t)
	for name, look := range map[string]Look{"with script": {}, "without script": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.Go("/ui/")
			if got := tab.Location(); got != "/ui/sign-in" {
				t.Fatalf("without a session, /ui/ leads to %s", got)
			}
			tab.Type("input[name=uid]", Admin)
			tab.Type("input[name=password]", Password)
			tab.Follow("form:has(input[name=password]) button")
			if got, who := tab.Location(), tab.Text(".who span"); got != "/ui/" || who != Admin {
				t.Fatalf("the sign-in leads to %s, as %q", got, who)
			}
			tab.Follow(".who button")
			if got := tab.Location(); got != "/ui/sign-out" {
				t.Errorf("the sign-out leads to %s", got)
			}
			tab.Go("/ui/")
			if got := tab.Location(); got != "/ui/sign-in" {
				t.Errorf("after the sign-out, /ui/ leads to %s", got)
			}
		})
	}
}
