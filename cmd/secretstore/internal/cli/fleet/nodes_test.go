package fleet

import (
	"strings"
	"testing"

	"secretstore/api/wire"
)

func TestEarlierRunOfANamedServerIsExplained(t *testing.T) {
	node := func(id, name, address string, self bool) wire.Node {
		return wire.Node{ID: id, Name: name, Listen: strings.Fields(address), Self: self}
	}
	f := &Fleet{Members: []*Member{{nodes: wire.Nodes{Array: []wire.Node{
		node("1", "vm", "127.0.0.1:1337", true),
		node("2", "vm", "127.0.0.1:1337", false),
		node("3", "vm", "127.0.0.1:1338", false),
		node("4", "other", "127.0.0.1:1337", false),
	}}}, {nodes: wire.Nodes{Array: []wire.Node{node("5", "silent", "", true), node("6", "silent", "", false)}}}}}
	all := f.notNamed()
	for i, want := range []bool{true, false, false, false} {
		if len(all) != 4 || all[i].SameAddress != want {
			t.Fatalf("%d: %+v", i, all)
		}
	}
	var out strings.Builder
	if err := PrintStrangers(&out, all); err != nil || !strings.HasSuffix(out.String(), "session timeout: vm 127.0.0.1:1337\n") ||
		!strings.Contains(out.String(), "unverified") {
		t.Errorf("%v, %s", err, out.String())
	}
	out.Reset()
	if err := PrintStrangers(&out, all[1:]); err != nil || strings.Contains(out.String(), "earlier runs") {
		t.Errorf("%v, %s", err, out.String())
	}
}
