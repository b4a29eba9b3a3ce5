package storetest

import (
	"errors"
	"fmt"
	"slices"

	"secretstore/store"
)

var childrenTests = []test{
	{"an empty storage has no children", func(e *env) {
		e.lists("")
	}},
	{"a missing key has no children", func(e *env) {
		e.lists("a")
		e.lists("a/b/c")
	}},
	{"a record may have no children", func(e *env) {
		e.create("a", "x")
		e.create("a-b", "x")
		e.lists("a")
	}},
	{"the empty key lists the root", func(e *env) {
		e.create("a", "x")
		e.create("b/c", "x")
		e.lists("", "a", "b")
	}},
	{"only the next component is listed", func(e *env) {
		e.create("a/b/c/d", "x")
		e.create("a/b/c/e", "x")
		e.create("a/f", "x")
		e.lists("", "a")
		e.lists("a", "b", "f")
		e.lists("a/b", "c")
		e.lists("a/b/c", "d", "e")
	}},
	{"names with a common prefix are distinct and listed once", func(e *env) {
		for _, key := range []store.Key{"a", "a-b", "a-b/y", "a.b/z", "a/x", "a/x/deep", "a0", "aa/x", "ab", "b"} {
			e.create(key, "x")
		}
		e.lists("", "a", "a-b", "a.b", "a0", "aa", "ab", "b")
		e.lists("a", "x")
		e.lists("a-b", "y")
		e.lists("a.b", "z")
		e.lists("ab")
	}},
	{"names with a common prefix below a key", func(e *env) {
		for _, key := range []store.Key{"p/a", "p/a-", "p/a-b/y", "p/a.b/z", "p/a/x", "p/a/y/z", "p-/a", "p/a0/x", "p/ab", "p0"} {
			e.create(key, "x")
		}
		e.lists("p", "a", "a-", "a-b", "a.b", "a0", "ab")
		e.lists("p/a", "x", "y")
	}},
	{"a record that also has children is listed once", func(e *env) {
		e.create("p/a", "x")
		e.create("p/a/b", "x")
		e.create("p/a-b", "x")
		e.lists("p", "a", "a-b")
	}},
	{"a deleted record is no longer listed", func(e *env) {
		v := e.create("p/a", "x")
		e.create("p/b", "x")
		e.lists("p", "a", "b")
		e.apply(store.Delete("p/a", v))
		e.lists("p", "b")
	}},
	{"a listing is not current after a change", func(e *env) {
		v := e.create("p/a", "x")
		current := func() store.Listing {
			list, err := e.b.Children(e.ctx, "p", store.Cached)
			if err != nil {
				e.Fatal(err)
			}
			if list.Changed != nil && !list.Current() {
				e.Error("a listing just read is not current")
			}
			return list
		}
		list := current()
		e.create("p/b", "x")
		if list.Current() {
			e.Error("still current after a Create")
		}
		list = current()
		e.apply(store.Set("p/a", y, v))
		if list.Changed != nil && !list.Current() {
			e.Error("not current after a Set, which changes no names")
		}
		e.apply(store.Delete("p/b", e.get("p/b").Version))
		if list.Current() {
			e.Error("still current after a Delete")
		}
		list = current()
		e.apply(store.Ensure("p/c", x), store.Create("p/d/e", x))
		if list.Current() {
			e.Error("still current after an Ensure")
		}
	}},
	{"thousands of children and grandchildren", func(e *env) {
		const n = 2000
		var want []string
		var ops []store.Op
		for i := range n {
			name := fmt.Sprintf("n%05d", i)
			want = append(want, name)
			ops = append(ops, store.Create("p/"+name, []byte("x")))
			ops = append(ops, store.Create("q/deep/"+name, []byte("x")))
		}
		for chunk := range slices.Chunk(ops, 500) {
			e.apply(chunk...)
		}
		e.lists("p", want...)
		e.lists("q/deep", want...)
		e.lists("q", "deep")
		e.lists("", "p", "q")
	}},
	{"an invalid key is ErrInvalidKey", func(e *env) {
		for _, key := range invalidKeys() {
			if _, err := e.b.Children(e.ctx, key, store.Latest); !errors.Is(err, store.ErrInvalidKey) {
				e.Errorf("Children(%.40q): %v", key, err)
			}
		}
	}},
}
