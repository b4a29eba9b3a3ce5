package textfile

import (
	"bytes"
	"errors"
	"testing"
)

func TestTextHasNoByteOrderMark(t *testing.T) {
	for data, want := range map[string]string{
		"": "", "a\r\n": "a\r\n", "\ufeffa": "a", "\ufeff": "", "\ufeff\ufeffa": "\ufeffa", "a\ufeff": "a\ufeff", "\xff\xfeab": "\xff\xfeab",
	} {
		if got, err := Text([]byte(data)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", data, got, err)
		}
	}
	for _, data := range []string{"\xff\xfea\x00\n\x00", "\xfe\xff\x00a\x00\n"} {
		if _, err := Text([]byte(data)); !errors.Is(err, ErrUTF16) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestFirstLineHasNoEnd(t *testing.T) {
	for text, want := range map[string]string{"": "", "a": "a", "a\nb": "a", "a\r\nb": "a", "\r\n": "", " a \n": " a ", "a\rb\n": "a\rb"} {
		if got := FirstLine([]byte(text)); string(got) != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestArmorIsFoundBehindOtherText(t *testing.T) {
	const armor = "-----BEGIN X-----\nAA==\n-----END X-----\n"
	for _, before := range []string{"", "\ufeff", "Dear holder,\n\n", "From: a\r\nSubject: my key\r\n\r\n", "see -----BEGIN X----- below:\n"} {
		if got := Armor([]byte(before + armor)); !bytes.HasSuffix(got, []byte(armor)) || !bytes.HasPrefix(bytes.TrimSpace(got), armorBegin) {
			t.Errorf("%q: %q", before, got)
		}
	}
	for _, text := range []string{"", "a\n", "see -----BEGIN X----- below\n"} {
		if got := Armor([]byte(text)); got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
