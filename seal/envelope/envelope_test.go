package envelope

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var here = Place{Store: "5f0c0a5e-0000-4000-8000-000000000001", Kind: KindSecret, Path: "group/secret"}

func header() Header { return Header{Kind: KindSecret, Term: 7, Version: 3, ID: NewID()} }

func TestEnvelopeOpensOnlyInItsPlace(t *testing.T) {
	key := NewKey()
	data := Seal(key, here, header(), []byte("value"))
	if plain, h, err := Open(key, here, data); err != nil || string(plain) != "value" || h.Term != 7 || h.Version != 3 {
		t.Fatalf("Open = %q, %+v, %v", plain, h, err)
	}
	elsewhere := map[string]Place{
		"another store":       {Store: "other", Kind: here.Kind, Path: here.Path},
		"another path":        {Store: here.Store, Kind: here.Kind, Path: "group/other"},
		"another kind":        {Store: here.Store, Kind: KindPiece, Path: here.Path},
		"another piece":       {Store: here.Store, Kind: here.Kind, Path: here.Path, Piece: 1},
		"another piece count": {Store: here.Store, Kind: here.Kind, Path: here.Path, Pieces: 1},
		"shifted boundary":    {Store: here.Store + "g", Kind: here.Kind, Path: here.Path[1:]},
		"no kind":             {Store: here.Store, Path: here.Path},
	}
	for name, at := range elsewhere {
		if _, _, err := Open(key, at, data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: err = %v, want ErrCorrupt", name, err)
		}
	}
	if _, _, err := Open(NewKey(), here, data); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another key: err = %v, want ErrCorrupt", err)
	}
}

func TestChangedOrTruncatedEnvelopeDoesNotOpen(t *testing.T) {
	key := NewKey()
	data := Seal(key, here, header(), []byte("value"))
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x20
		if _, _, err := Open(key, here, bad); err == nil {
			t.Errorf("byte %d flipped: opened", i)
		}
		if _, _, err := Open(key, here, data[:i]); err == nil {
			t.Errorf("truncated to %d bytes: opened", i)
		}
	}
	if _, _, err := Open(key, here, append(bytes.Clone(data), 0)); err == nil {
		t.Error("a byte appended: opened")
	}
}

func TestEnvelopeDoesNotContainThePlaintext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 8, 200).Draw(t, "plain")
		data := Seal(NewKey(), here, header(), plain)
		if bytes.Contains(data, plain) {
			t.Fatal("plaintext in the envelope")
		}
		if len(data) != len(plain)+Overhead {
			t.Fatalf("overhead %d", len(data)-len(plain))
		}
	})
}

func TestNewerFormatErrorNamesTheFormat(t *testing.T) {
	data := Seal(NewKey(), here, header(), nil)
	data[2] = maxFormat + 1
	if _, err := ParseHeader(data); !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "format 3") {
		t.Errorf("err = %v", err)
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	k, err := KeyFromBytes(bytes.Repeat([]byte{0xAB}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, k); !strings.Contains(s, "hidden") {
			t.Errorf("%s prints %q", verb, s)
		}
	}
}

func TestZeroKeyPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a zero key was used")
		}
	}()
	Seal(&Key{}, here, header(), nil)
}

// TestClearedKeyPanics clears a key that was used before, so that keyed HMACs of
// it may still be pooled.
func TestClearedKeyPanics(t *testing.T) {
	key := NewKey()
	data := Seal(key, here, header(), []byte("value"))
	key.Clear()
	defer func() {
		if recover() == nil {
			t.Error("a cleared key was used")
		}
	}()
	_, _, err := Open(key, here, data)
	t.Errorf("a cleared key was used: %v", err)
}

// TestExpandMatchesHKDF compares the one-block shortcut with the standard
// library.
func TestExpandMatchesHKDF(t *testing.T) {
	key := NewKey()
	for range 3 {
		salt := NewKey().Bytes()
		want, err := hkdf.Expand(sha256.New, key.Bytes(), label+string(salt), KeySize)
		if err != nil {
			t.Fatal(err)
		}
		var got [KeySize]byte
		key.expand(&got, label, salt)
		if !bytes.Equal(got[:], want) {
			t.Errorf("derived %x, want %x", got, want)
		}
	}
}

var update = flag.Bool("update", false, "write a golden envelope of the current format")

// Golden files are added, not rewritten: old ciphertext stays readable.
func TestGoldenEnvelopesStillOpen(t *testing.T) {
	key, err := KeyFromBytes([]byte("golden key, 32 bytes, not secret"))
	if err != nil {
		t.Fatal(err)
	}
	for format := uint8(format1); format <= maxFormat; format++ {
		file := fmt.Sprintf("../../testdata/envelope-format%d.hex", format)
		want := Header{Kind: KindSecret, Format: format, Term: 7, Version: 3, ID: ID{1, 2, 3}}
		if *update && format == maxFormat {
			data := Seal(key, here, want, []byte("golden value"))
			if err := os.WriteFile(file, []byte(hex.EncodeToString(data)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		plain, h, err := Open(key, here, data)
		if err != nil || string(plain) != "golden value" || h != want {
			t.Errorf("format %d: Open = %q, %+v, %v", format, plain, h, err)
		}
	}
}

// FuzzEnvelope checks that only genuine envelopes open, and that nothing panics.
func FuzzEnvelope(f *testing.F) {
	key := NewKey()
	genuine := Seal(key, here, header(), []byte("value"))
	f.Add(genuine)
	f.Add(genuine[:Overhead])
	f.Add([]byte{magic0, magic1, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := Open(key, here, data); err == nil && !bytes.Equal(data, genuine) {
			t.Fatal("a forged envelope opened")
		}
	})
}

func BenchmarkOpen256(b *testing.B) {
	key := NewKey()
	data := Seal(key, here, header(), make([]byte, 256))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Open(key, here, data); err != nil {
			b.Fatal(err)
		}
	}
}
