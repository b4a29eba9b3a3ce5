package shell

import (
	"os/exec"
	"testing"
)

// TestQuotedWordComesBack has a real shell read the word.
func TestQuotedWordComesBack(t *testing.T) {
	for _, word := range []string{"", "plain/path-1.2", "two words", "it's", "$HOME", "`id`", "a\nb", `back\slash`, "*", "ü", `"`} {
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q comes back as %q, %v", word, out, err)
		}
	}
}
