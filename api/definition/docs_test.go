package definition_test

import (
	"os"
	"regexp"
	"testing"

	"secretstore/api/definition"
)

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

// What people copy works: each secret is in a space of its service, defined,
// and used.
func TestTheExamplesOfTheDocumentationAreValid(t *testing.T) {
	page, err := os.ReadFile("../../docs/marathon-and-metronome.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[definition.Kind]bool)
	for _, block := range jsonBlock.FindAllSubmatch(page, -1) {
		all, _, err := definition.Parse(block[1])
		if err != nil {
			t.Errorf("%s: %v", block[1], err)
			continue
		}
		for _, d := range all {
			kinds[d.Kind] = true
			if len(d.Wanted()) == 0 || len(d.Unused()) != 0 {
				t.Errorf("%s: wanted %v, unused %v", block[1], d.Wanted(), d.Unused())
			}
			for _, s := range d.Secrets {
				if !d.Service.MayRead(s.Path) {
					t.Errorf("%s may not read %s", d.Service, s.Path)
				}
			}
			for _, r := range d.References {
				if !r.Defined() {
					t.Errorf("%s is undefined in %s", r.Secret, block[1])
				}
			}
		}
	}
	if len(kinds) != 4 {
		t.Errorf("there are examples of %d kinds", len(kinds))
	}
}
