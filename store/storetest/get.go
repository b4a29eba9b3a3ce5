package storetest

import (
	"bytes"
	"errors"
	"strings"

	"secretstore/store"
)

var getTests = []test{
	{"a missing record is ErrNotFound", func(e *env) {
		e.lacks("a", "a/b", "a/b/c")
	}},
	{"a key that only has children is ErrNotFound", func(e *env) {
		e.create("a/b/c", "x")
		e.lacks("a", "a/b")
		e.holds("a/b/c", "x")
	}},
	{"a deleted record is ErrNotFound", func(e *env) {
		v := e.create("a", "x")
		e.apply(store.Delete("a", v))
		e.lacks("a")
	}},
	{"data is read back unchanged", func(e *env) {
		var all []byte
		for b := range 256 {
			all = append(all, byte(b))
		}
		for key, data := range map[string][]byte{"all": all, "zero": {0}, "zeros": make([]byte, 5000)} {
			e.apply(store.Create(key, data))
			if n := e.get(key); !bytes.Equal(n.Data, data) {
				e.Errorf("%s: %d bytes differ from the %d written", key, len(n.Data), len(data))
			}
		}
	}},
	{"the version is the one that Apply returned", func(e *env) {
		v := e.create("a", "x")
		if n := e.get("a"); n.Version != v {
			e.Errorf("read version %d, Create returned %d", n.Version, v)
		}
		v = e.apply(store.Set("a", []byte("y"), v))[0]
		if n := e.get("a"); n.Version != v {
			e.Errorf("read version %d, Set returned %d", n.Version, v)
		}
	}},
	{"a record written later has a greater revision, if the backend has revisions", func(e *env) {
		v := e.create("a", "x")
		e.create("b", "x")
		e.apply(store.Delete("a", v))
		e.create("a", "x")
		revisions := func(c store.Consistency) (a, b store.Revision) {
			for key, to := range map[store.Key]*store.Revision{"a": &a, "b": &b} {
				n, err := e.b.Get(e.ctx, key, c)
				if err != nil {
					e.Fatal(err)
				}
				*to = n.Revision
			}
			return a, b
		}
		for _, c := range []store.Consistency{store.Cached, store.Latest} {
			if a, b := revisions(c); a <= b && (a != 0 || b != 0) {
				e.Errorf("%s: a was created again after b and has revision %d, b has %d", name(c), a, b)
			}
		}
		written, _ := revisions(store.Latest)
		e.apply(store.Set("b", []byte("y"), e.get("b").Version), store.Set("a", []byte("y"), e.get("a").Version))
		for _, c := range []store.Consistency{store.Cached, store.Latest} {
			if a, b := revisions(c); (a <= written || b <= written) && (a != 0 || b != 0) {
				e.Errorf("%s: both were set after revision %d, and have %d and %d", name(c), written, a, b)
			}
		}
	}},
	{"the age is zero while the storage can be reached", func(e *env) {
		e.create("a", "x")
		for _, c := range []store.Consistency{store.Cached, store.Latest} {
			if n, err := e.b.Get(e.ctx, "a", c); err != nil || n.Age != 0 {
				e.Errorf("%s: age %v, %v", name(c), n.Age, err)
			}
		}
	}},
	{"similar keys are different records", func(e *env) {
		keys := []store.Key{"a", "A", "a-", "a.", "a_", "aa", "a/a", "a/A", "a-/a", "a.a", "...", "..a"}
		for _, key := range keys {
			e.create(key, "data of "+key)
		}
		for _, key := range keys {
			e.holds(key, "data of "+key)
		}
	}},
	{"an invalid key is ErrInvalidKey", func(e *env) {
		for _, key := range append(invalidKeys(), "") {
			if _, err := e.b.Get(e.ctx, key, store.Latest); !errors.Is(err, store.ErrInvalidKey) {
				e.Errorf("Get(%.40q): %v", key, err)
			}
		}
	}},
	{"later writes do not change data that was read", func(e *env) {
		v := e.create("a", strings.Repeat("x", 10000))
		n := e.get("a")
		v = e.apply(store.Set("a", bytes.Repeat([]byte("y"), 10000), v))[0]
		e.apply(store.Delete("a", v))
		for i := range 50 {
			e.create("b"+strings.Repeat("b", i), strings.Repeat("z", 10000))
		}
		if string(n.Data) != strings.Repeat("x", 10000) {
			e.Error("data changed after it was read")
		}
	}},
}

// invalidKeys returns keys that each break one rule. The empty key is not among
// them, because Children accepts it.
func invalidKeys() []store.Key {
	return []store.Key{
		"/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "a\x00b", "a\\b", "é", "a%2Fb", "a\n",
		strings.Repeat("c", store.MaxComponent+1),
		strings.Repeat("cccccc/", store.MaxKey/7) + "ccc",
	}
}
