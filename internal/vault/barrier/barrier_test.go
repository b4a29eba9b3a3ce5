package barrier

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

// seal encrypts as Vault does.
func seal(t testing.TB, key []byte, term byte, name string, plain []byte) []byte {
	t.Helper()
	gcm, err := newGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	return gcm.Seal(append([]byte{0, 0, 0, term, version}, nonce...), nonce, plain, []byte(name))
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	root := bytes.Repeat([]byte{1}, 32)
	record := seal(t, root, 1, KeyringName, []byte(`{"MasterKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Keys":[{"Term":1,"Version":1,"Value":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}]}`))
	ring, err := OpenKeyring(root, record)
	if err != nil {
		t.Fatal(err)
	}
	value := seal(t, bytes.Repeat([]byte{2}, 32), 1, "logical/x/y", []byte("plain"))
	if got, err := ring.Open("logical/x/y", value); err != nil || string(got) != "plain" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := ring.Open("logical/x/z", value); !errors.Is(err, ErrDamaged) {
		t.Errorf("under another name: %v", err)
	}
	for n := range value {
		for _, changed := range [][]byte{append(append(bytes.Clone(value[:n]), value[n]^1), value[n+1:]...), value[:n], append(bytes.Clone(value[:n]), value[n+1:]...)} {
			if got, err := ring.Open("logical/x/y", changed); err == nil || got != nil {
				t.Errorf("byte %d: %q, %v", n, got, err)
			}
		}
	}
	if _, err := OpenKeyring(bytes.Repeat([]byte{3}, 32), record); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another root key: %v", err)
	}
	ring.Clear()
	if _, err := ring.Open("logical/x/y", value); !errors.Is(err, ErrTerm) {
		t.Errorf("after Clear: %v", err)
	}
	if _, err := new(Keyring).Open("logical/x/y", value); err == nil {
		t.Error("the zero Keyring opens a record")
	}
}

func TestKeyringOfAnotherRootKeyIsRefused(t *testing.T) {
	root := bytes.Repeat([]byte{1}, 32)
	for _, plain := range []string{
		`{}`, `x`, `{"Keys":[]}`,
		`{"MasterKey":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=","Keys":[{"Term":1,"Value":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}]}`,
		`{"MasterKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Keys":[{"Term":1,"Value":"AgI="}]}`,
		`{"MasterKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Keys":[{"Term":0,"Value":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}]}`,
	} {
		if ring, err := OpenKeyring(root, seal(t, root, 1, KeyringName, []byte(plain))); err == nil || ring != nil {
			t.Errorf("%s is accepted", plain)
		}
	}
}

// FuzzOpen: no record opens that was not sealed, and none makes it panic.
func FuzzOpen(f *testing.F) {
	root := bytes.Repeat([]byte{1}, 32)
	f.Add("core/keyring", seal(f, root, 1, KeyringName, []byte("{}")))
	f.Add("a", []byte{0, 0, 0, 1, 2})
	gcm, err := newGCM(root)
	if err != nil {
		f.Fatal(err)
	}
	ring := &Keyring{map[uint32]term{1: {gcm, root}}}
	f.Fuzz(func(t *testing.T, name string, record []byte) {
		if plain, err := ring.Open(name, record); err != nil && plain != nil {
			t.Errorf("%q with %v", plain, err)
		}
		if ring, err := OpenKeyring(root, record); ring != nil && err != nil {
			t.Errorf("a keyring with %v", err)
		}
	})
}

// FuzzUnsealing: the records in the clear are anybody's.
func FuzzUnsealing(f *testing.F) {
	f.Add([]byte(`{"type":"shamir","secret_shares":5,"secret_threshold":3}`))
	f.Add([]byte("\x0a\x1cxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x2a\x02\x08\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseSealConfig(data); err == nil && (c.Threshold < 1 || c.Threshold > c.Shares || c.Shares > 255) {
			t.Errorf("%+v", c)
		}
		if key, err := RootKey(make([]byte, 32), append([]byte{}, data...)); err == nil {
			t.Errorf("a key %x from a record that nobody sealed", key)
		}
	})
}
