package barrier

import "testing"

// FuzzKeyring: an authenticated but senseless keyring is an error.
func FuzzKeyring(f *testing.F) {
	data, err := NewKeyring().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := decodeKeyring(data); err == nil && k.Terms[k.Active] == nil {
			t.Fatal("a keyring without its active key")
		}
	})
}
