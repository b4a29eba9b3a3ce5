package base

import (
	"strings"
	"unicode"
)

// OneLine keeps a text of several lines from breaking the table, and control
// characters from the terminal.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), "; ")
}
