package pgp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// fileKey returns a generated key pair.
func fileKey(t *testing.T, number int) (*PrivateKey, *PublicKey) {
	t.Helper()
	private, err := generated[number]()
	if err != nil {
		t.Fatal(err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// writeTo encrypts plain to the keys, in several writes.
func writeTo(t *testing.T, plain []byte, to ...*PublicKey) (*FileWriter, []byte) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewFileWriter(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.SplitAfterSeq(plain, []byte("\n")) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w, out.Bytes()
}

func TestFileOpensWithEachOfItsKeys(t *testing.T) {
	a, toA := fileKey(t, 0)
	b, toB := fileKey(t, 1)
	for _, plain := range [][]byte{{}, []byte("CANARY\nand more"), bytes.Repeat([]byte("0123456789\n"), 5000)} {
		w, file := writeTo(t, plain, toA, toB)
		if err := w.Verify(bytes.NewReader(file)); err != nil {
			t.Errorf("%d bytes: %v", len(plain), err)
		}
		if bytes.Contains(file, []byte("CANARY")) {
			t.Error("the file holds the plaintext")
		}
		for _, k := range []*PrivateKey{a, b} {
			if got, err := k.Unwrap(file); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: got %d, %v", len(plain), len(got), err)
			}
		}
	}
	if _, err := NewFileWriter(new(bytes.Buffer), nil); err == nil {
		t.Error("a file without recipients was begun")
	}
}

// TestChangedOrTruncatedFileDoesNotVerify tries every tenth byte.
func TestChangedOrTruncatedFileDoesNotVerify(t *testing.T) {
	_, to := fileKey(t, 0)
	plain := []byte(strings.Repeat("secret ", 100))
	for i := 0; ; i += 10 {
		w, file := writeTo(t, plain, to)
		if i >= len(file) {
			break
		}
		changed := bytes.Clone(file)
		changed[i] ^= 0x40
		// Only the holder can find a flipped bit in the encrypted session key.
		if err := w.Verify(bytes.NewReader(changed)); err == nil && i > 20+512 {
			t.Errorf("byte %d of %d changed: verified", i, len(file))
		}
		w, file = writeTo(t, plain, to)
		if err := w.Verify(bytes.NewReader(file[:i])); !errors.Is(err, ErrFile) {
			t.Errorf("cut at %d of %d: %v", i, len(file), err)
		}
		w, file = writeTo(t, plain, to)
		if err := w.Verify(bytes.NewReader(append(file, file...))); !errors.Is(err, ErrFile) {
			t.Errorf("twice: %v", err)
		}
	}
}
