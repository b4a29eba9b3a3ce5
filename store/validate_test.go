package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"secretstore/store"
)

func TestKeyRules(t *testing.T) {
	component := strings.Repeat("c", store.MaxComponent)
	longest := component + "/" + component + "/" + strings.Repeat("d", store.MaxKey-2*store.MaxComponent-2)
	valid := []string{"a", "A-z.0_9", "a/b/c", "...", ".a", "a.", "-", component, longest}
	invalid := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b",
		component + "c", longest + "d", "a b", "a\x00", "a\\b", "é", "a%2F", "a\n", "*", "~",
	}
	for _, key := range valid {
		if err := store.ValidKey(key); err != nil {
			t.Errorf("ValidKey(%q) = %v, want nil", key, err)
		}
	}
	for _, key := range invalid {
		if err := store.ValidKey(key); !errors.Is(err, store.ErrInvalidKey) {
			t.Errorf("ValidKey(%q) = %v, want ErrInvalidKey", key, err)
		}
	}
}

func TestKeyAlphabetIsExactlyTheDocumentedOne(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	for b := range 256 {
		key := "x" + string([]byte{byte(b)}) + "x"
		want := strings.IndexByte(alphabet, byte(b)) >= 0 || b == '/'
		if got := store.ValidKey(key) == nil; got != want {
			t.Errorf("byte %#02x: valid is %v, want %v", b, got, want)
		}
	}
}

func TestErrorOfAnInvalidKeyStaysShort(t *testing.T) {
	err := store.ValidKey(strings.Repeat("\x00", 1000))
	if err == nil || len(err.Error()) > 100 {
		t.Errorf("error of %d bytes: %v", len(err.Error()), err)
	}
}

func FuzzValidKey(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "/", "..", "a/../b", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if store.ValidKey(key) != nil {
			return
		}
		if key == "" || len(key) > store.MaxKey || strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") ||
			strings.Contains(key, "//") || strings.Contains("/"+key+"/", "/../") || strings.Contains("/"+key+"/", "/./") {
			t.Errorf("accepted %q", key)
		}
	})
}

func TestOperationRules(t *testing.T) {
	data := []byte("x")
	full := make([]byte, store.MaxData)
	rest := make([]byte, store.MaxTransaction-store.MaxData)
	for _, tt := range []struct {
		name  string
		ops   []store.Op
		index int
		want  error
	}{
		{"none", nil, 0, nil},
		{"each kind", []store.Op{
			store.Check("a", 0), store.Create("b", data), store.Ensure("c", data), store.Set("d", data, 7), store.Delete("e", 1),
		}, 0, nil},
		{"zero op", []store.Op{{}}, 0, store.ErrInvalidOp},
		{"unknown kind", []store.Op{store.Check("a", 0), {Kind: 99, Key: "b"}}, 1, store.ErrInvalidOp},
		{"bad key", []store.Op{store.Check("a", 0), store.Check("b/", 0)}, 1, store.ErrInvalidKey},
		{"root", []store.Op{store.Create("", data)}, 0, store.ErrInvalidKey},
		{"create nothing", []store.Op{store.Create("a", nil)}, 0, store.ErrInvalidOp},
		{"ensure nothing", []store.Op{store.Ensure("a", []byte{})}, 0, store.ErrInvalidOp},
		{"set nothing", []store.Op{store.Set("a", nil, 0)}, 0, store.ErrInvalidOp},
		{"check with data", []store.Op{{Kind: store.OpCheck, Key: "a", Data: data}}, 0, store.ErrInvalidOp},
		{"delete with data", []store.Op{{Kind: store.OpDelete, Key: "a", Data: data}}, 0, store.ErrInvalidOp},
		{"any version", []store.Op{store.Set("a", data, -1)}, 0, store.ErrInvalidOp},
		{"same key twice", []store.Op{store.Create("a", data), store.Check("b", 0), store.Delete("a", 0)}, 2, store.ErrInvalidOp},
		{"largest record", []store.Op{store.Create("a", full)}, 0, nil},
		{"one byte over", []store.Op{store.Create("a", append(full[:len(full):len(full)], 0))}, 0, store.ErrTooLarge},
		{"largest transaction", []store.Op{store.Create("a", full), store.Create("b", rest)}, 0, nil},
		{"transaction one byte over", []store.Op{
			store.Create("a", full), store.Create("b", rest), store.Create("c", data),
		}, 2, store.ErrTooLarge},
		{"most naming", checks(store.MaxNaming / (64 + store.OpOverhead)), 0, nil},
		{"one operation over", checks(store.MaxNaming/(64+store.OpOverhead) + 1), store.MaxNaming / (64 + store.OpOverhead), store.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := store.CheckOps(tt.ops)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			var op *store.OpError
			if tt.want != nil && (!errors.As(err, &op) || op.Index != tt.index) {
				t.Errorf("got %#v, want an OpError at %d", err, tt.index)
			}
		})
	}
}

// checks returns n checks of different keys of 64 bytes each.
func checks(n int) []store.Op {
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = store.Check(fmt.Sprintf("%064d", i), 0)
	}
	return ops
}

func TestErrorsNeverHoldData(t *testing.T) {
	canary := []byte("canary-3c9f")
	for _, op := range []store.Op{{Key: "a", Data: canary}, {Kind: store.OpDelete, Key: "a", Data: canary}} {
		if err := store.CheckOps([]store.Op{op}); err == nil || bytes.Contains([]byte(err.Error()), canary) {
			t.Errorf("error %v", err)
		}
	}
}
