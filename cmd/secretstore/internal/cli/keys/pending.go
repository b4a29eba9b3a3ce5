package keys

import (
	"fmt"
	"strings"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// pending says which holders a command leaves the rest to. Its text begins with
// the word PENDING, which scripts look for on the first line of the output.
type pending struct {
	Text    string            `json:"pending,omitempty"` // what waits for what
	Missing []wire.HolderName `json:"missing,omitempty"` // who can do it
	more    int               // how many of them have to
	who     string            // in words, for example "new holders"
	command string            // what each of them runs
	advice  string            // further lines; may be empty
}

// nameLines returns a line for each holder, with a line break before it.
func nameLines(all []wire.HolderName) string {
	var out strings.Builder
	for _, h := range all {
		fmt.Fprintf(&out, "\n  %s  %s", base.OneLine(h.Fingerprint), base.OneLine(h.UserID))
	}
	return out.String()
}

// String returns the text for people; "" if nothing is pending.
func (p pending) String() string {
	if p.Text == "" {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "PENDING: %s\n%d more of these %s must run: %s", p.Text, p.more, p.who, p.command)
	out.WriteString(nameLines(p.Missing))
	if p.advice != "" {
		out.WriteString("\n" + p.advice)
	}
	return out.String()
}
