package base

import (
	"strings"
	"unicode"
)

// OneLine joins the lines of a text and drops control characters, which would
// break a table or drive the terminal.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), "; ")
}
