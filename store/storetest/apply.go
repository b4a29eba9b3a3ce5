package storetest

import (
	"reflect"
	"slices"

	"secretstore/store"
)

var (
	x = []byte("x")
	y = []byte("y")
)

// noSuchVersion is a version that no record has in these tests.
const noSuchVersion = 1 << 30

var applyTests = []test{
	{"an empty transaction changes nothing", func(e *env) {
		e.apply()
		e.lists("")
	}},
	{"Create creates a record whose parents do not exist", func(e *env) {
		e.create("a/b/c/d", "x")
		e.holds("a/b/c/d", "x")
	}},
	{"Create of an existing record is ErrExists", func(e *env) {
		e.create("a", "x")
		e.refused(store.ErrExists, 0, store.Create("a", y))
		e.holds("a", "x")
	}},
	{"Create creates a record at a key that only has children", func(e *env) {
		e.create("a/b", "x")
		e.create("a", "y")
		e.holds("a", "y")
		e.holds("a/b", "x")
		e.lists("a", "b")
	}},
	{"Create after Delete creates a new record", func(e *env) {
		v := e.create("a", "x")
		e.apply(store.Delete("a", v))
		v = e.create("a", "y")
		e.holds("a", "y")
		e.apply(store.Set("a", x, v))
		e.holds("a", "x")
	}},
	{"Ensure creates a missing record", func(e *env) {
		v := e.apply(store.Ensure("a/b", x))[0]
		e.holds("a/b", "x")
		e.apply(store.Check("a/b", v))
	}},
	{"Ensure creates a record at a key that only has children", func(e *env) {
		e.create("a/b", "x")
		e.apply(store.Ensure("a", y))
		e.holds("a", "y")
	}},
	{"Bump creates a missing record", func(e *env) {
		e.apply(store.Bump("a/b", x))
		e.holds("a/b", "x")
		e.lists("a", "b")
		e.apply(store.Bump("p/q/r", x), store.Create("p/q/s", x))
		e.holds("p/q/r", "x")
		e.lists("p/q", "r", "s")
	}},
	{"Bump creates a record at a key that only has children", func(e *env) {
		e.create("a/b", "x")
		e.apply(store.Bump("a", y))
		e.holds("a", "y")
		e.holds("a/b", "x")
	}},
	{"Bump changes the version of a record unconditionally", func(e *env) {
		v := e.create("a", "x")
		for range 3 {
			e.apply(store.Bump("a", y))
			e.holds("a", "y")
			e.refused(store.ErrConflict, 0, store.Check("a", v))
			e.refused(store.ErrConflict, 1, store.Create("b", x), store.Set("a", x, v))
			v = e.get("a").Version
			e.apply(store.Check("a", v))
		}
		e.apply(store.Delete("a", v))
		e.apply(store.Bump("a", x))
		e.holds("a", "x")
	}},
	{"Ensure does not change an existing record", func(e *env) {
		v := e.create("a", "x")
		e.apply(store.Ensure("a", y))
		e.holds("a", "x")
		e.apply(store.Check("a", v))
	}},
	{"Set replaces the record at its version", func(e *env) {
		v := e.create("a", "x")
		v = e.apply(store.Set("a", y, v))[0]
		e.holds("a", "y")
		e.apply(store.Set("a", x, v))
		e.holds("a", "x")
	}},
	{"Set at another version is ErrConflict", func(e *env) {
		old := e.create("a", "x")
		e.apply(store.Set("a", y, old))
		e.refused(store.ErrConflict, 0, store.Set("a", x, old))
		e.refused(store.ErrConflict, 0, store.Set("a", x, noSuchVersion))
		e.holds("a", "y")
	}},
	{"Set of a missing record is ErrNotFound", func(e *env) {
		e.create("a/b", "x")
		for _, v := range []store.Version{0, 1, noSuchVersion} {
			e.refused(store.ErrNotFound, 0, store.Set("c", x, v))
			e.refused(store.ErrNotFound, 0, store.Set("a", x, v))
		}
		e.lacks("a", "c")
	}},
	{"Set changes the version even if the data stays the same", func(e *env) {
		v := e.create("a", "x")
		e.apply(store.Set("a", x, v))
		e.refused(store.ErrConflict, 0, store.Check("a", v))
	}},
	{"Check succeeds at the version and changes nothing", func(e *env) {
		v := e.create("a", "x")
		e.apply(store.Check("a", v))
		e.apply(store.Check("a", v))
		e.holds("a", "x")
	}},
	{"Check at another version is ErrConflict", func(e *env) {
		old := e.create("a", "x")
		e.apply(store.Set("a", y, old))
		e.refused(store.ErrConflict, 0, store.Check("a", old))
		e.refused(store.ErrConflict, 0, store.Check("a", noSuchVersion))
	}},
	{"Check of a missing record is ErrNotFound", func(e *env) {
		e.create("a/b", "x")
		for _, v := range []store.Version{0, 1, noSuchVersion} {
			e.refused(store.ErrNotFound, 0, store.Check("c", v))
			e.refused(store.ErrNotFound, 0, store.Check("a", v))
		}
	}},
	{"Delete at another version is ErrConflict", func(e *env) {
		old := e.create("a", "x")
		e.apply(store.Set("a", y, old))
		e.refused(store.ErrConflict, 0, store.Delete("a", old))
		e.refused(store.ErrConflict, 0, store.Delete("a", noSuchVersion))
		e.holds("a", "y")
	}},
	{"Delete of a missing record is ErrNotFound", func(e *env) {
		e.create("a/b", "x")
		for _, v := range []store.Version{0, 1, noSuchVersion} {
			e.refused(store.ErrNotFound, 0, store.Delete("c", v))
			e.refused(store.ErrNotFound, 0, store.Delete("a", v))
		}
		e.holds("a/b", "x")
	}},
	{"Delete of a record with children is ErrNotEmpty", func(e *env) {
		v := e.create("a", "x")
		e.create("a/b", "x")
		e.refused(store.ErrNotEmpty, 0, store.Delete("a", v))
		e.holds("a", "x")
	}},
	{"Delete of a record with only grandchildren is ErrNotEmpty", func(e *env) {
		v := e.create("a", "x")
		e.create("a/b/c", "x")
		e.refused(store.ErrNotEmpty, 0, store.Delete("a", v))
	}},
	{"keys with a common prefix are not children", func(e *env) {
		v := e.create("a", "x")
		e.create("a-b", "x")
		e.create("a.b/c", "x")
		e.create("ab", "x")
		e.apply(store.Delete("a", v))
		e.lacks("a")
	}},
	{"a record can be deleted once its children are deleted", func(e *env) {
		v, w := e.create("a", "x"), e.create("a/b", "x")
		e.apply(store.Delete("a/b", w))
		e.apply(store.Delete("a", v))
		e.lists("")
	}},
	{"children and then their parent can be deleted in one transaction", func(e *env) {
		v, w, u := e.create("a", "x"), e.create("a/b", "x"), e.create("a/c", "x")
		e.apply(store.Delete("a/c", u), store.Delete("a/b", w), store.Delete("a", v))
		e.lists("")
	}},
	{"a parent cannot be deleted before its children", func(e *env) {
		v, w := e.create("a", "x"), e.create("a/b", "x")
		e.refused(store.ErrNotEmpty, 0, store.Delete("a", v), store.Delete("a/b", w))
		e.holds("a", "x")
		e.holds("a/b", "x")
	}},
	{"a child created earlier in the transaction counts", func(e *env) {
		v := e.create("a", "x")
		e.refused(store.ErrNotEmpty, 1, store.Create("a/b", x), store.Delete("a", v))
		e.refused(store.ErrNotEmpty, 1, store.Ensure("a/b", x), store.Delete("a", v))
		e.holds("a", "x")
		e.lacks("a/b")
	}},
	{"one transaction can hold every kind of operation", everyKind},
	{"a refused operation undoes the whole transaction", refusalAnywhere},
	{"the first refused operation is the one reported", func(e *env) {
		e.create("a", "x")
		e.refused(store.ErrExists, 1, store.Create("b", x), store.Create("a", y), store.Check("none", 1))
		e.refused(store.ErrNotFound, 1, store.Create("b", x), store.Check("none", 1), store.Create("a", y))
		e.lacks("b")
	}},
	{"Apply does not change its operations", func(e *env) {
		ops := []store.Op{store.Ensure("a", x), store.Create("a/b", []byte("data")), store.Bump("c", y)}
		want := slices.Clone(ops)
		v := e.apply(ops...)[1]
		e.refused(store.ErrExists, 1, ops...)
		e.apply(store.Delete("a/b", v))
		e.apply(ops...)
		e.holds("a/b", "data")
		if !reflect.DeepEqual(ops, want) || string(ops[1].Data) != "data" {
			e.Errorf("operations given to Apply: %v, now %v", want, ops)
		}
	}},
	{"Ping answers", func(e *env) {
		if err := e.b.Ping(e.ctx); err != nil {
			e.Error(err)
		}
	}},
}

func everyKind(e *env) {
	c, s, d, n := e.create("check", "x"), e.create("set", "x"), e.create("delete", "x"), e.create("ensured", "x")
	versions := e.apply(
		store.Check("check", c),
		store.Create("create/d", y),
		store.Ensure("ensure", y),
		store.Ensure("ensured", y),
		store.Set("set", y, s),
		store.Delete("delete", d),
		store.Bump("bump", y),
	)
	e.holds("bump", "y")
	e.holds("check", "x")
	e.holds("create/d", "y")
	e.holds("ensure", "y")
	e.holds("ensured", "x")
	e.holds("set", "y")
	e.lacks("delete")
	e.apply(
		store.Check("check", c), store.Check("ensured", n),
		store.Check("create/d", versions[1]), store.Check("ensure", versions[2]), store.Check("set", versions[4]),
	)
}

// refusalAnywhere puts each kind of refused operation at each position among
// operations that would succeed.
func refusalAnywhere(e *env) {
	full := e.create("full", "x")
	e.create("full/child", "x")
	set, del := e.create("set", "x"), e.create("delete", "x")
	good := []store.Op{
		store.Create("new", y), store.Set("set", y, set), store.Delete("delete", del), store.Ensure("ensure", y), store.Bump("bump", y),
	}
	for _, bad := range []struct {
		op   store.Op
		want error
	}{
		{store.Create("full/child", y), store.ErrExists},
		{store.Set("full", y, noSuchVersion), store.ErrConflict},
		{store.Set("none", y, 1), store.ErrNotFound},
		{store.Check("full", noSuchVersion), store.ErrConflict},
		{store.Check("none", 1), store.ErrNotFound},
		{store.Delete("full", noSuchVersion), store.ErrConflict},
		{store.Delete("none", 1), store.ErrNotFound},
		{store.Delete("full", full), store.ErrNotEmpty},
	} {
		for at := range len(good) + 1 {
			ops := append(append(append([]store.Op(nil), good[:at]...), bad.op), good[at:]...)
			e.refused(bad.want, at, ops...)
		}
	}
	e.lacks("new", "ensure", "bump", "none")
	e.holds("set", "x")
	e.holds("delete", "x")
	e.lists("", "delete", "full", "set")
	e.apply(store.Check("set", set), store.Check("delete", del), store.Check("full", full))
}
