package fingerprint_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"secretstore/internal/fingerprint"
)

func TestFingerprintIsReadInTheFormsThatToolsPrint(t *testing.T) {
	want := fingerprint.Sum(sha256.Sum256([]byte("x")))
	text := fingerprint.Of([]byte("x"))
	if len(text) != 95 || strings.ToUpper(text) != text {
		t.Errorf("printed as %q", text)
	}
	plain := strings.ReplaceAll(text, ":", "")
	for _, form := range []string{text, strings.ToLower(text), plain, strings.ToLower(plain)} {
		if got, err := fingerprint.Parse(form); err != nil || got != want {
			t.Errorf("%s: %v, %v", form, got, err)
		}
	}
	for _, form := range []string{"", "00", plain[:63], plain + "0", text + ":", ":" + text, strings.Replace(text, ":", "", 1), strings.Replace(text, ":", "0", 1),
		" " + plain, strings.Repeat("g", 64), strings.Repeat("0", 40), strings.Repeat("00:", 20)} {
		if got, err := fingerprint.Parse(form); !errors.Is(err, fingerprint.ErrMalformed) || got != (fingerprint.Sum{}) {
			t.Errorf("%q: %v, %v", form, got, err)
		}
	}
}

// FuzzParse: what is read is written, and read again, as the same.
func FuzzParse(f *testing.F) {
	f.Add(fingerprint.Of(nil))
	f.Add(strings.Repeat("a", 64))
	f.Fuzz(func(t *testing.T, text string) {
		sum, err := fingerprint.Parse(text)
		if err != nil {
			return
		}
		if again, err := fingerprint.Parse(sum.String()); err != nil || again != sum || !strings.EqualFold(strings.ReplaceAll(text, ":", ""), strings.ReplaceAll(sum.String(), ":", "")) {
			t.Fatalf("%q: %v, %v, %v", text, sum, again, err)
		}
	})
}
