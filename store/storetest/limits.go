package storetest

import (
	"bytes"
	"fmt"
	"strings"

	"secretstore/store"
)

var limitTests = []test{
	{"a record may have MaxData bytes", func(e *env) {
		data := bytes.Repeat([]byte{'d'}, store.MaxData)
		v := e.apply(store.Create("a", data))[0]
		if n := e.get("a"); !bytes.Equal(n.Data, data) {
			e.Errorf("read %d bytes that differ", len(n.Data))
		}
		data[0] = 'e'
		e.apply(store.Set("a", data, v))
		if n := e.get("a"); !bytes.Equal(n.Data, data) {
			e.Errorf("read %d bytes that differ", len(n.Data))
		}
	}},
	{"a record of MaxData+1 bytes is ErrTooLarge", func(e *env) {
		v := e.create("a", "x")
		data := make([]byte, store.MaxData+1)
		e.refused(store.ErrTooLarge, 0, store.Create("b", data))
		e.refused(store.ErrTooLarge, 0, store.Ensure("b", data))
		e.refused(store.ErrTooLarge, 1, store.Create("c", x), store.Set("a", data, v))
		e.holds("a", "x")
		e.lists("", "a")
	}},
	{"a transaction may have MaxTransaction bytes", func(e *env) {
		first, rest := make([]byte, store.MaxData), make([]byte, store.MaxTransaction-store.MaxData)
		e.apply(store.Create("a", first), store.Create("b", rest))
		if a, b := e.get("a"), e.get("b"); len(a.Data) != len(first) || len(b.Data) != len(rest) {
			e.Errorf("read %d and %d bytes", len(a.Data), len(b.Data))
		}
	}},
	{"a transaction of MaxTransaction+1 bytes is ErrTooLarge", func(e *env) {
		first, rest := make([]byte, store.MaxData), make([]byte, store.MaxTransaction-store.MaxData)
		e.refused(store.ErrTooLarge, 2, store.Create("a", first), store.Create("b", rest), store.Create("c", x))
		e.lists("")
	}},
	{"a transaction may have as many operations as MaxNaming allows", func(e *env) {
		var ops []store.Op
		for i := range store.MaxNaming / (4 + store.OpOverhead) {
			ops = append(ops, store.Create(fmt.Sprintf("%04d", i), x))
		}
		e.refused(store.ErrTooLarge, len(ops), append(ops, store.Create("zzzz", x))...)
		e.lists("")
		e.apply(ops...)
		if got := len(e.names("", store.Latest)); got != len(ops) {
			e.Errorf("%d records, want %d", got, len(ops))
		}
	}},
	{"keys may have MaxKey bytes and components MaxComponent", func(e *env) {
		component := strings.Repeat("c", store.MaxComponent)
		key := component + "/" + component + "/" + strings.Repeat("d", store.MaxKey-2*store.MaxComponent-2)
		e.create(key, "x")
		e.holds(key, "x")
		e.lists("", component)
		e.lists(component, component)
		var deep strings.Builder
		for deep.Len() < store.MaxKey-2 {
			deep.WriteString("d/")
		}
		deep.WriteString("d")
		e.create(deep.String(), "x")
		e.holds(deep.String(), "x")
	}},
	{"an invalid key is ErrInvalidKey", func(e *env) {
		for _, key := range append(invalidKeys(), "") {
			for _, op := range []store.Op{
				store.Check(key, 1), store.Create(key, x), store.Ensure(key, x), store.Set(key, x, 1), store.Delete(key, 1),
			} {
				e.refused(store.ErrInvalidKey, 1, store.Create("good", x), op)
			}
		}
		e.lists("")
	}},
	{"malformed operations are ErrInvalidOp", func(e *env) {
		v := e.create("a", "x")
		for _, op := range []store.Op{
			{}, {Key: "b"}, {Kind: 99, Key: "b", Data: x},
			store.Create("b", nil), store.Create("b", []byte{}), store.Ensure("b", nil), store.Set("a", nil, v),
			store.Check("a", -1), store.Set("a", y, -1), store.Delete("a", -1),
			store.Delete("good", 0),
		} {
			e.refused(store.ErrInvalidOp, 1, store.Create("good", x), op)
		}
		e.holds("a", "x")
		e.lists("", "a")
	}},
}
