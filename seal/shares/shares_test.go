package shares

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/seal/envelope"
)

func sameKey(a, b *envelope.Key) bool { return bytes.Equal(a.Bytes(), b.Bytes()) }

func TestThresholdOfSharesMakesTheKeyAndFewerDoNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "n")
		if rapid.IntRange(0, 9).Draw(t, "many") == 9 { // these take longer, and rapid prefers small numbers
			n = Max
		}
		threshold := rapid.IntRange(1, n).Draw(t, "t")
		key, scheme, all, err := New(n, threshold)
		if err != nil {
			t.Fatal(err)
		}
		rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		var entered []Share
		for _, s := range all[:threshold] {
			back, err := Parse(scheme, []byte(" "+string(s.Text())+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			entered = append(entered, back)
		}
		if got, err := Combine(scheme, entered); err != nil || !sameKey(got, key) {
			t.Fatalf("%d of %d do not make the key: %v", threshold, n, err)
		}
		if _, err := Combine(scheme, entered[1:]); !errors.Is(err, ErrBadSplit) {
			t.Fatalf("one too few: %v", err)
		}
		// Lowering the threshold in the scheme must not help.
		if threshold == 1 {
			return
		}
		lower := scheme
		lower.Threshold--
		if got, err := Combine(lower, entered[1:]); err == nil && sameKey(got, key) {
			t.Fatal("one share fewer makes the key")
		}
	})
}

func TestSingleShareIsTheKeyItself(t *testing.T) {
	key, scheme, all, err := New(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(all[0].Text()); text != fmt.Sprintf("%x", key.Bytes()) {
		t.Error("the share is not the key in hex")
	}
	back, err := Parse(scheme, all[0].Text())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Combine(scheme, []Share{back}); err != nil || !sameKey(got, key) {
		t.Error(err)
	}
}

func TestWrongShareIsRefusedWhenEntered(t *testing.T) {
	_, scheme, all, err := New(5, 3)
	if err != nil {
		t.Fatal(err)
	}
	_, _, others, err := New(5, 3)
	if err != nil {
		t.Fatal(err)
	}
	good := string(all[0].Text())
	rows := map[string]struct {
		text string
		want error
	}{
		"of another key":    {string(others[0].Text()), ErrWrong},
		"another number":    {"02" + good[2:], ErrWrong},
		"number 0":          {"00" + good[2:], ErrMalformed},
		"number 6 of 5":     {"06" + good[2:], ErrMalformed},
		"too short":         {good[:64], ErrMalformed},
		"too long":          {good + "00", ErrMalformed},
		"not hex":           {"zz" + good[2:], ErrMalformed},
		"empty":             {"", ErrMalformed},
		"not canonical":     {"01" + strings.Repeat("ff", 32), ErrMalformed},
		"the scalar 0":      {"01" + strings.Repeat("00", 32), ErrWrong},
		"capitals are fine": {strings.ToUpper(good), nil},
	}
	for name, row := range rows {
		if _, err := Parse(scheme, []byte(row.text)); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
	if _, err := Combine(scheme, []Share{all[0], all[0], all[1]}); !errors.Is(err, ErrBadSplit) {
		t.Errorf("the same share twice: %v", err)
	}
	if _, err := Parse(Scheme{}, []byte(good)); err == nil {
		t.Error("the zero scheme accepted a share")
	}
}

func TestImpossibleSplitsAreRefused(t *testing.T) {
	for _, row := range [][2]int{{0, 0}, {1, 0}, {1, 2}, {3, 4}, {33, 2}, {-1, -1}} {
		if _, _, _, err := New(row[0], row[1]); !errors.Is(err, ErrBadSplit) {
			t.Errorf("%d shares, threshold %d: %v", row[0], row[1], err)
		}
	}
}

func TestSharesDoNotPrint(t *testing.T) {
	_, _, all, err := New(2, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, all); !strings.Contains(text, "hidden") || strings.Contains(text, string(all[0].Text()[10:])) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// FuzzShare checks that Parse accepts only genuine shares.
func FuzzShare(f *testing.F) {
	_, scheme, all, err := New(3, 2)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range all {
		f.Add(string(s.Text()))
	}
	f.Add("01ff")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(scheme, []byte(text))
		if err != nil {
			return
		}
		if !bytes.Equal(s.value, all[s.number-1].value) {
			t.Fatal("a forged share was accepted")
		}
	})
}
