package config

import (
	"os"
	"regexp"
	"testing"
)

// TestDocumentationListsEveryOption compares the tables of the page, and its
// example, with the options.
func TestDocumentationListsEveryOption(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (?:`([^`]*)`)? ?\\|").FindAllSubmatch(text, -1) {
		listed[string(m[1])] = string(m[2])
	}
	for _, o := range Options() {
		value, ok := listed[o.Name]
		switch {
		case !ok:
			t.Errorf("%s is not listed", o.Name)
		case value != o.Default:
			t.Errorf("%s: the page says that %q is the default, which is %q", o.Name, value, o.Default)
		}
		delete(listed, o.Name)
	}
	for name := range listed {
		t.Errorf("there is no option %s", name)
	}

	example := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindSubmatch(text)
	if example == nil {
		t.Fatal("there is no example")
	}
	settings, problems := parseFile("example", example[1])
	if len(settings) < 5 || len(problems) > 0 {
		t.Errorf("the example has %d settings and the problems %v", len(settings), problems)
	}
}
