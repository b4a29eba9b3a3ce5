package head

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"secretstore/api/wire"
)

const (
	goodTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	goodParent = "00f067aa0ba902b7"
	goodValue  = "00-" + goodTrace + "-" + goodParent + "-01"
)

func TestOnlyValidTraceparentsAreTaken(t *testing.T) {
	for _, row := range []struct {
		name, value, want string
	}{
		{"sampled", goodValue, goodValue},
		{"not sampled", "00-" + goodTrace + "-" + goodParent + "-00", "00-" + goodTrace + "-" + goodParent + "-00"},
		{"sampled and random", "00-" + goodTrace + "-" + goodParent + "-03", "00-" + goodTrace + "-" + goodParent + "-03"},
		{"unknown flags", "00-" + goodTrace + "-" + goodParent + "-fd", "00-" + goodTrace + "-" + goodParent + "-01"},
		{"a later version", "cc-" + goodTrace + "-" + goodParent + "-01", goodValue},
		{"a later version with more", "cc-" + goodTrace + "-" + goodParent + "-01-what\nthe future brings", goodValue},
		{"a later version with a longer flag", "cc-" + goodTrace + "-" + goodParent + "-01.x", ""},
		{"version 00 with more", goodValue + "-x", ""},
		{"version ff", "ff-" + goodTrace + "-" + goodParent + "-01", ""},
		{"empty", "", ""},
		{"too short", goodValue[:54], ""},
		{"no such version", "0x-" + goodTrace + "-" + goodParent + "-01", ""},
		{"upper case", strings.ToUpper(goodValue), ""},
		{"no trace", "00-" + strings.Repeat("0", 32) + "-" + goodParent + "-01", ""},
		{"no parent", "00-" + goodTrace + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"a line break", "00-" + goodTrace[:31] + "\n-" + goodParent + "-01", ""},
		{"another separator", strings.ReplaceAll(goodValue, "-", "_"), ""},
		{"flags that are not a number", goodValue[:53] + "0g", ""},
	} {
		if got := Traceparent(http.Header{wire.TraceparentHeader: {row.value}}); got != row.want {
			t.Errorf("%s: %q", row.name, got)
		}
	}
	if got := Traceparent(nil); got != "" {
		t.Errorf("without the header: %q", got)
	}
	if got := Traceparent(http.Header{wire.TraceparentHeader: {goodValue, goodValue}}); got != "" {
		t.Errorf("twice: %q", got)
	}
}

// FuzzTraceparent: whatever is sent, what is taken has the one form that may be
// logged, names the trace that was sent, and is read as itself.
func FuzzTraceparent(f *testing.F) {
	for _, seed := range []string{goodValue, "cc-" + goodValue[3:] + "-more", "ff" + goodValue[2:], goodValue + "-", "", "00-" + strings.Repeat("0", 52)} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$`)
	f.Fuzz(func(t *testing.T, value string) {
		got := Traceparent(http.Header{wire.TraceparentHeader: {value}})
		if got == "" {
			return
		}
		if !form.MatchString(got) || got[2:53] != value[2:53] || strings.Contains(got, strings.Repeat("0", 32)+"-") {
			t.Fatalf("%q is taken as %q", value, got)
		}
		if again := Traceparent(http.Header{wire.TraceparentHeader: {got}}); again != got {
			t.Fatalf("%q is read again as %q", got, again)
		}
	})
}
