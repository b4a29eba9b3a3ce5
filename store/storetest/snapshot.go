package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"secretstore/store"
)

var snapshotTests = []test{
	{"reads what it is asked for, and nothing else", func(e *env) {
		e.apply(store.Create("p", x), store.Create("p/a", x), store.Create("p/a/b", x), store.Create("p/no", x), store.Create("p/no/x", x),
			store.Create("p-a", x), store.Create("p/nothing", x), store.Create("q/bare/r", x), store.Create("z", x))
		got, err := e.snapshot(e.b, store.Snapshot{Below: []store.Key{"p", "q"}, Except: []store.Key{"p/no"}})
		want := []store.Key{"p", "p/a", "p/a/b", "p/nothing", "q/bare/r"}
		if err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			e.Errorf("%q, %v", slices.Sorted(maps.Keys(got)), err)
		}
		if got, err := e.snapshot(e.b, store.Snapshot{}); err != nil || len(got) > 0 {
			e.Errorf("%q, %v", got, err)
		}
		if _, err := e.snapshot(e.b, store.Snapshot{Below: []store.Key{"p/../q"}}); err == nil {
			e.Error("a key that none can be was taken")
		}
	}},
	{"ends with the error of emit, and with its context", func(e *env) {
		e.apply(store.Create("p/a", x), store.Create("p/b", x))
		enough := errors.New("enough")
		err := e.b.(store.Snapshotter).Snapshot(e.ctx, store.Snapshot{Below: []store.Key{"p"}}, func(store.Key, []byte) error { return enough })
		if !errors.Is(err, enough) {
			e.Error(err)
		}
		ctx, cancel := context.WithCancel(e.ctx)
		err = e.b.(store.Snapshotter).Snapshot(ctx, store.Snapshot{Below: []store.Key{"p"}}, func(store.Key, []byte) error { cancel(); return nil })
		if !errors.Is(err, store.ErrUnavailable) {
			e.Error(err)
		}
	}},
	{"reads no more records a second than it is asked to", func(e *env) {
		const perSecond, burst, records = 500, 256, 456
		ops := make([]store.Op, records)
		for i := range ops {
			ops[i] = store.Create(fmt.Sprintf("p/%d", i), x)
		}
		e.apply(ops...)
		began := time.Now()
		got, err := e.snapshot(e.b, store.Snapshot{Below: []store.Key{"p"}, Rate: perSecond})
		if took := time.Since(began); err != nil || len(got) != records || took < (records-burst)*time.Second/perSecond {
			e.Errorf("%d records in %v, %v", len(got), took, err)
		}
		// One that cannot end in time is not cut off.
		ctx, cancel := context.WithTimeout(e.ctx, time.Second/2)
		defer cancel()
		err = e.b.(store.Snapshotter).Snapshot(ctx, store.Snapshot{Below: []store.Key{"p"}, Rate: 1}, func(store.Key, []byte) error { return nil })
		if !errors.Is(err, store.ErrUnavailable) {
			e.Errorf("one record a second, %d in half a second: %v", records, err)
		}
	}},
	{"has one state of records that change meanwhile", func(e *env) { e.oneState(e.b) }},
}

// snapshot reads a Snapshot into a map.
func (e *env) snapshot(b store.Backend, s store.Snapshot) (map[store.Key]string, error) {
	e.Helper()
	all := make(map[store.Key]string)
	err := b.(store.Snapshotter).Snapshot(e.ctx, s, func(key store.Key, data []byte) error {
		if delete(all, key); len(data) > 0 {
			all[key] = string(data)
		}
		return nil
	})
	return all, err
}

// oneState reads snapshots on b while e writes. The n-th transaction sets "log" and
// one of a few records to n, and makes or deletes others, so each state is that
// after one certain number of transactions.
func (e *env) oneState(b store.Backend) {
	const slots, folders = 20, 7
	model := func(n int) map[store.Key]string {
		all := map[store.Key]string{"p/log": strconv.Itoa(n)}
		for i := max(1, n-slots+1); i <= n; i++ {
			all[fmt.Sprintf("p/slot/%d", i%slots)] = strconv.Itoa(i)
		}
		for i := max(1, n-slots+1); i <= n; i++ { // each is deleted slots transactions later
			all[fmt.Sprintf("p/new/%d/%d", i%folders, i)] = "new"
		}
		return all
	}
	versions := map[store.Key]store.Version{}
	write := func(n int) error {
		slot, fresh, old := fmt.Sprintf("p/slot/%d", n%slots), fmt.Sprintf("p/new/%d/%d", n%folders, n), fmt.Sprintf("p/new/%d/%d", (n-slots)%folders, n-slots)
		set := func(key store.Key) store.Op {
			if v, ok := versions[key]; ok {
				return store.Set(key, []byte(strconv.Itoa(n)), v)
			}
			return store.Create(key, []byte(strconv.Itoa(n)))
		}
		ops := []store.Op{set("p/log"), set(slot), store.Create(fresh, []byte("new"))}
		if n > slots {
			ops = append(ops, store.Delete(old, versions[old]))
		}
		got, err := e.b.Apply(e.ctx, ops...)
		if err == nil {
			versions["p/log"], versions[slot], versions[fresh] = got[0], got[1], got[2]
		}
		return err
	}
	for n := 1; n <= slots; n++ {
		if err := write(n); err != nil {
			e.Fatal(err)
		}
	}
	var writing sync.Mutex // held back in the later rounds
	ctx, stop := context.WithCancel(e.ctx)
	ended := make(chan error, 1)
	go func() {
		for n := slots + 1; ctx.Err() == nil; n++ {
			writing.Lock()
			err := write(n)
			writing.Unlock()
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for range 30 {
		held := false
		got, err := e.snapshot(b, store.Snapshot{Below: []store.Key{"p"}, Again: func(round int) {
			if round >= 3 && !held {
				writing.Lock()
				held = true
			}
		}})
		if held {
			writing.Unlock()
		}
		n, _ := strconv.Atoi(got["p/log"])
		if err != nil || !maps.Equal(got, model(n)) {
			e.Errorf("after %d transactions: %v, %v", n, got, err)
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		e.Error(err)
	}
}
