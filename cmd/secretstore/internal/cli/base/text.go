package base

import (
	"strings"
	"unicode"
)

// Lines drops the control characters of a text of several lines, which would drive
// the terminal.
func Lines(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// OneLine joins the lines of a text and drops control characters, which would
// break a table or drive the terminal.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), "; ")
}
