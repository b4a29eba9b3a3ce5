package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// TestDocumentationListsEveryCommand looks for each command in the tables of the
// page.
func TestDocumentationListsEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `") {
			rows.WriteString(line)
		}
	}
	root := newRoot(&base.Process{})
	commands := root.Commands()
	for _, c := range commands {
		if c.Name() == "help" || c.Hidden {
			continue
		}
		if !regexp.MustCompile("`" + regexp.QuoteMeta(c.Name()) + "[` ]").MatchString(rows.String()) {
			t.Errorf("the page does not list %s", c.Name())
		}
	}
	if len(commands) < 20 {
		t.Errorf("only %d commands were found", len(commands))
	}
}
