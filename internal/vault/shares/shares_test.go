package shares

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
)

func TestArithmeticIsThatOfTheField(t *testing.T) {
	if got := mul(0x57, 0x83); got != 0xc1 { // FIPS 197, 4.2
		t.Errorf("%#x", got)
	}
	for a := 1; a < 256; a++ {
		if got := mul(byte(a), inverse(byte(a))); got != 1 {
			t.Errorf("%d times its inverse is %d", a, got)
		}
	}
}

// split is what Vault does, with the coefficients of every byte in rest.
func split(key []byte, rest [][]byte, points ...byte) (all [][]byte) {
	for _, x := range points {
		share := append(bytes.Clone(key), x)
		for n := range key {
			power := byte(1)
			for _, coefficients := range rest {
				power = mul(power, x)
				share[n] ^= mul(coefficients[n], power)
			}
		}
		all = append(all, share)
	}
	return all
}

func TestSharesCombineInAnyOrder(t *testing.T) {
	key := bytes.Repeat([]byte{0, 1, 0xfe, 0xff}, 8)
	all := split(key, [][]byte{bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{0xab}, 32)}, 1, 255, 77, 2)
	for _, pick := range [][]int{{0, 1, 2}, {3, 2, 1}, {1, 1, 0, 3}} {
		var parts [][]byte
		for _, n := range pick {
			parts = append(parts, all[n])
		}
		got, err := Combine(parts, 4, 3)
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("%v: %x, %v", pick, got, err)
		}
	}
}

func TestSharesThatCannotBeAreRefused(t *testing.T) {
	ok := append(make([]byte, 32), 1)
	for name, tt := range map[string]struct {
		parts             [][]byte
		number, threshold int
		want              error
	}{
		"none":              {nil, 1, 1, ErrTooFew},
		"copies":            {[][]byte{ok, ok}, 2, 2, ErrTooFew},
		"x is 0":            {[][]byte{ok, make([]byte, 33)}, 2, 2, ErrMalformed},
		"a key for a share": {[][]byte{make([]byte, 16)}, 2, 2, ErrMalformed},
		"a share for a key": {[][]byte{ok}, 1, 1, ErrMalformed},
		"mixed":             {[][]byte{ok, append(make([]byte, 16), 2)}, 2, 2, ErrMixed},
		"threshold":         {[][]byte{ok}, 2, 3, nil},
		"number":            {[][]byte{ok}, 256, 1, nil},
	} {
		if got, err := Combine(tt.parts, tt.number, tt.threshold); err == nil || tt.want != nil && !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(" " + hex.EncodeToString(make([]byte, 33)) + "\n")
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := Parse([]byte(text))
		if (err == nil) != (len(raw) >= minKey && len(raw) <= maxKey+1) {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
	})
}
