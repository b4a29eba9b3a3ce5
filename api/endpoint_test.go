package api

import (
	"slices"
	"testing"
)

func TestEveryEndpointAsksThePolicyOrIsOpen(t *testing.T) {
	open := []string{"ping", "live", "ready", "metrics", "root"}
	for _, ep := range endpoints(&handlers{}) {
		if ep.open != slices.Contains(open, ep.name) {
			t.Errorf("%s: open is %v", ep.name, ep.open)
		}
		if !ep.open && ep.op == 0 {
			t.Errorf("%s asks the policy for nothing", ep.name)
		}
	}
}
