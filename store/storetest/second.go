package storetest

import (
	"errors"
	"slices"

	"secretstore/store"
)

// secondTests run with two backends on one storage.
var secondTests = []struct {
	name string
	run  func(a, b *env)
}{
	{"a Snapshot has one state of what the other changes meanwhile", func(a, b *env) { a.oneState(b.b) }},
	{"Latest reads see the other's writes", func(a, b *env) {
		v := a.create("p/k", "0")
		for i, data := range []string{"1", "2", "3"} {
			writer, reader := a, b
			if i%2 == 1 {
				writer, reader = b, a
			}
			v = writer.apply(store.Set("p/k", []byte(data), v))[0]
			if n := reader.get("p/k"); string(n.Data) != data || n.Version != v {
				reader.Errorf("read %q at %d, want %q at %d", n.Data, n.Version, data, v)
			}
		}
		if names := b.names("p", store.Latest); len(names) != 1 {
			b.Errorf("children %q", names)
		}
		b.apply(store.Delete("p/k", v))
		if _, err := a.b.Get(a.ctx, "p/k", store.Latest); !errors.Is(err, store.ErrNotFound) {
			a.Errorf("Get after the other's Delete: %v", err)
		}
	}},
	{"Cached reads soon see the other's writes", func(a, b *env) {
		cached := func(want string) func() bool {
			return func() bool {
				n, err := b.b.Get(b.ctx, "p/k", store.Cached)
				return err == nil && string(n.Data) == want
			}
		}
		v := a.create("p/k", "x")
		b.eventually("created", cached("x"))
		v = a.apply(store.Set("p/k", y, v))[0]
		b.eventually("changed", cached("y"))
		a.apply(store.Delete("p/k", v))
		b.eventually("deleted", func() bool {
			_, err := b.b.Get(b.ctx, "p/k", store.Cached)
			return errors.Is(err, store.ErrNotFound)
		})
		a.create("p/l", "x")
		b.eventually("listed", func() bool {
			list, err := b.b.Children(b.ctx, "p", store.Cached)
			return err == nil && len(list.Names) == 1 && list.Names[0] == "l"
		})
	}},
	{"a listing is soon not current after the other's change", func(a, b *env) {
		a.create("p/k", "x")
		list, err := b.b.Children(b.ctx, "p", store.Cached)
		if err != nil {
			b.Fatal(err)
		}
		a.create("p/l", "x")
		b.eventually("no longer current", func() bool { return !list.Current() })
	}},
	{"an announcement is seen by the other, and ends with its server", func(a, b *env) {
		content, ended := a.announce(a.ctx, announcerID(1))
		content <- []byte("one")
		b.announced("1=one")
		if err := a.b.Close(); err != nil {
			a.Fatal(err)
		}
		if err := <-ended; err != nil {
			a.Error(err)
		}
		b.announced("")
	}},
	{"Watch reports the other's creation, change and deletion", func(a, b *env) {
		reported := b.watch(b.ctx, "k")
		v := a.create("k", "x")
		b.await(reported)
		v = a.apply(store.Set("k", y, v))[0]
		b.await(reported)
		a.apply(store.Delete("k", v))
		b.await(reported)
	}},
	{"Changes reports the other's creation, change and deletion", func(a, b *env) {
		reported := b.changes(b.ctx)
		v := a.create("p/k", "x")
		reported.await(store.RecordID("p/k"), store.ListingID("p"))
		v = a.apply(store.Set("p/k", y, v))[0]
		reported.await(store.RecordID("p/k"))
		if n, err := b.b.Get(b.ctx, "p/k", store.Cached); err != nil || n.Version != v {
			b.Errorf("read version %d, %v, after the report of %d", n.Version, err, v)
		}
		quiet := store.Set("p/k", x, v)
		quiet.Quiet = true
		v = a.apply(quiet)[0]
		a.create("p/l", "x")
		if all := reported.await(store.RecordID("p/l")); slices.Contains(all, store.RecordID("p/k")) {
			b.Error("a quiet change was reported")
		}
		if n, err := b.b.Get(b.ctx, "p/k", store.Cached); err != nil || n.Version != v {
			b.Errorf("read version %d, %v, after the report of a change later than %d", n.Version, err, v)
		}
		a.apply(store.Delete("p/k", v))
		reported.await(store.RecordID("p/k"), store.ListingID("p"))
	}},
	{"a version changed by the other is ErrConflict", func(a, b *env) {
		v := a.create("k", "x")
		if n := b.get("k"); n.Version != v {
			b.Errorf("version %d here, %d there", n.Version, v)
		}
		b.apply(store.Set("k", y, v))
		a.refused(store.ErrConflict, 0, store.Set("k", x, v))
		a.refused(store.ErrExists, 0, store.Create("k", x))
	}},
	{"writers that increment one record lose no update", func(a, b *env) { count(a, a, b, a, b) }},
	{"every concurrent Bump changes the version", func(a, b *env) { bumps(a, a, b, b) }},
	{"exactly one of many concurrent Creates succeeds", func(a, b *env) { exactlyOne(a, a, b, a, b) }},
	{"two records written together are read together", func(a, b *env) { together(a, b) }},
	{"closing one does not affect the other", func(a, b *env) {
		a.create("k", "x")
		if err := a.b.Close(); err != nil {
			a.Errorf("Close: %v", err)
		}
		if n := b.get("k"); string(n.Data) != "x" {
			b.Errorf("read %q", n.Data)
		}
		b.create("l", "y")
	}},
}
