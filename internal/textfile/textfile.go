// Package textfile makes the text files of all systems look alike: those of
// Windows may begin with a byte order mark, end their lines with CRLF, or be
// UTF-16. It is for configuration, keys, tokens and documents, never for the value
// of a secret, of which each byte counts.
package textfile

import (
	"bytes"
	"errors"
)

// ErrUTF16 is returned for a file in UTF-16.
var ErrUTF16 = errors.New("this is UTF-16 text; save it as UTF-8")

var (
	bom        = []byte("\xef\xbb\xbf")
	armorBegin = []byte("-----BEGIN ")
)

// Text returns what a file holds without the UTF-8 byte order mark at its
// beginning. It copies nothing. The error is ErrUTF16.
func Text(data []byte) ([]byte, error) {
	// With the zero byte of an ASCII character: keys may be any bytes.
	if len(data) >= 4 && (data[0] == 0xff && data[1] == 0xfe && data[3] == 0 || data[0] == 0xfe && data[1] == 0xff && data[2] == 0) {
		return nil, ErrUTF16
	}
	return bytes.TrimPrefix(data, bom), nil
}

// FirstLine returns the first line of text without its end, LF or CRLF.
func FirstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// Armor returns text from the first line on that begins an armor (of OpenPGP, or
// PEM), nil if there is none. What is before it may be a mail.
func Armor(text []byte) []byte {
	text = bytes.TrimPrefix(text, bom)
	for len(text) > 0 {
		if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), armorBegin) {
			return text
		}
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	return nil
}
