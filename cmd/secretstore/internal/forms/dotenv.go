package forms

import (
	"bytes"
	"fmt"
	"strings"
)

// ParseDotenv reads lines NAME=VALUE, which may begin with "export ", empty lines and
// comments. A value is
//
//	plain       without white space, quotes and \ $ ` #, in which dialects differ
//	'quoted'    exactly as it is, possibly over several lines
//	"quoted"    with \" \\ \$ \` \n \r \t for what they usually mean
//
// Nothing is expanded. Anything else is refused, and a name that occurs twice. The path
// of each secret is its name; the order is that of the file.
func ParseDotenv(data []byte) ([]Source, error) {
	p := &dotenv{rest: data, line: 1}
	if at := notText(data); at >= 0 {
		return nil, p.badAt(data[:at], "this is not UTF-8 text")
	}
	seen := map[string]bool{}
	var all []Source
	for len(p.rest) > 0 {
		line := p.line // statement ends on the next one
		name, value, err := p.statement()
		if err != nil {
			return nil, err
		}
		if name == "" {
			continue
		}
		if seen[name] {
			return nil, &lineError{line, "this name appears twice"}
		}
		seen[name] = true
		all = append(all, have(Item{Path: name, Value: value}))
	}
	return all, nil
}

// dotenv is the rest of the input.
type dotenv struct {
	rest []byte
	line int
}

func (p *dotenv) bad(what string) error { return &lineError{p.line, what} }

// badAt is bad for a mistake after some text of the rest, which may have several
// lines.
func (p *dotenv) badAt(before []byte, what string) error {
	return &lineError{p.line + bytes.Count(before, []byte{'\n'}), what}
}

// statement reads one line, or more if a quoted value continues. The name of an empty
// line is "".
func (p *dotenv) statement() (name string, value []byte, err error) {
	p.blank()
	if p.end() || p.peek() == '#' {
		p.endLine()
		return "", nil, nil
	}
	name = p.word()
	if name == "export" && !p.end() && (p.peek() == ' ' || p.peek() == '\t') {
		p.blank()
		name = p.word()
	}
	if !IsVariable(name) || p.end() || p.peek() != '=' {
		return "", nil, p.bad("write NAME=VALUE, with a name of letters, digits and underscores and no space around the =")
	}
	p.rest = p.rest[1:]
	value, err = p.value()
	if err != nil {
		return "", nil, err
	}
	if !p.end() && p.peek() != ' ' && p.peek() != '\t' {
		return "", nil, p.bad("there is more after the value; put all of it into quotes")
	}
	p.blank()
	if !p.end() && p.peek() != '#' {
		return "", nil, p.bad("there is more after the value; put all of it into quotes")
	}
	p.endLine()
	return name, value, nil
}

func (p *dotenv) peek() byte { return p.rest[0] }

// end reports whether the line is over.
func (p *dotenv) end() bool {
	return len(p.rest) == 0 || p.rest[0] == '\n' || bytes.HasPrefix(p.rest, []byte("\r\n"))
}

func (p *dotenv) blank() { p.rest = bytes.TrimLeft(p.rest, " \t") }

// endLine drops a comment and the end of the line.
func (p *dotenv) endLine() {
	_, rest, more := bytes.Cut(p.rest, []byte{'\n'})
	p.rest = rest
	if more {
		p.line++
	}
}

func (p *dotenv) word() string {
	n := 0
	for n < len(p.rest) && isNameByte(p.rest[n]) {
		n++
	}
	word := string(p.rest[:n])
	p.rest = p.rest[n:]
	return word
}

func (p *dotenv) value() ([]byte, error) {
	if p.end() {
		return []byte{}, nil
	}
	switch p.peek() {
	case '\'':
		return p.single()
	case '"':
		return p.double()
	}
	n := 0
	for n < len(p.rest) && !strings.ContainsRune(" \t\r\n'\"\\$`#", rune(p.rest[n])) {
		n++
	}
	value := bytes.Clone(p.rest[:n])
	p.rest = p.rest[n:]
	return value, nil
}

func (p *dotenv) single() ([]byte, error) {
	value, rest, ok := bytes.Cut(p.rest[1:], []byte{'\''})
	if !ok {
		return nil, p.bad("the quote that begins here is not closed")
	}
	p.line += bytes.Count(value, []byte{'\n'})
	p.rest = rest
	return bytes.Clone(value), nil
}

// escapes are what may follow a backslash between double quotes.
var escapes = map[byte]byte{'"': '"', '\\': '\\', '$': '$', '`': '`', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *dotenv) double() ([]byte, error) {
	value := []byte{}
	escaped := false
	for i, c := range p.rest[1:] {
		switch plain, known := escapes[c]; {
		case escaped && !known:
			return nil, p.badAt(p.rest[:i+1], "write a backslash between double quotes as \\\\")
		case escaped:
			value = append(value, plain)
			escaped = false
		case c == '"':
			p.line += bytes.Count(p.rest[:i+1], []byte{'\n'})
			p.rest = p.rest[i+2:]
			return value, nil
		case c == '$', c == '`':
			return nil, p.badAt(p.rest[:i+1], "nothing is expanded here; write \\$ and \\` between double quotes, or use single ones")
		case c == '\\':
			escaped = true
		default:
			value = append(value, c)
		}
	}
	return nil, p.bad("the quote that begins here is not closed")
}

// IsVariable reports whether s is the name of a variable in shells.
func IsVariable(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) || i == 0 && '0' <= s[0] && s[0] <= '9' {
			return false
		}
	}
	return s != ""
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// AppendDotenv appends a line that ParseDotenv, and a shell, reads as this
// value. Binary values, and text with a NUL, have no such line.
func AppendDotenv(b []byte, name string, i Item) ([]byte, error) {
	switch {
	case !IsVariable(name):
		return nil, fmt.Errorf("%s is not a valid variable name", name)
	case i.Binary || !isText(i.Value):
		return nil, fmt.Errorf("%s is binary and cannot be in a dotenv file", i.Path)
	}
	b = append(b, name...)
	b = append(b, '=')
	switch {
	case isPlain(i.Value):
		b = append(b, i.Value...)
	case bytes.IndexByte(i.Value, '\'') < 0:
		b = append(b, '\'')
		b = append(b, i.Value...)
		b = append(b, '\'')
	default:
		b = append(b, '"')
		for _, c := range i.Value {
			if c == '"' || c == '\\' || c == '$' || c == '`' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		b = append(b, '"')
	}
	return append(b, '\n'), nil
}

// isPlain reports whether every dialect, and every shell, reads the value as it
// is without quotes.
func isPlain(value []byte) bool {
	for _, c := range value {
		if !isNameByte(c) && !strings.ContainsRune("-./:@%+,", rune(c)) {
			return false
		}
	}
	return true
}
