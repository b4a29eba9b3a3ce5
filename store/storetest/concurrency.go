package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"secretstore/store"
)

var concurrencyTests = []test{
	{"writers that increment one record lose no update", func(e *env) {
		count(e, e, e, e, e, e, e, e)
	}},
	{"exactly one of many concurrent Creates succeeds", func(e *env) {
		exactlyOne(e, e, e, e, e, e, e, e)
	}},
	{"every concurrent Bump changes the version", func(e *env) { bumps(e, e, e, e) }},
	{"a refused transaction does not disturb the others", refusedAmongOthers},
	{"two records written together are read together", func(e *env) { together(e, e) }},
	{"many goroutines watch, read and write", everything},
}

// count lets each env increment one counter by Set at the version it has read.
func count(first *env, all ...*env) {
	const each = 25
	first.create("n", "0")
	var wg sync.WaitGroup
	for _, e := range all {
		wg.Go(func() {
			for range each {
				if err := increment(e); err != nil {
					e.Errorf("increment: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, e := range all {
		if got := string(e.get("n").Data); got != strconv.Itoa(len(all)*each) {
			e.Errorf("counted to %s, want %d", got, len(all)*each)
		}
	}
}

func increment(e *env) error {
	for {
		n, err := e.b.Get(e.ctx, "n", store.Latest)
		if err != nil {
			return err
		}
		i, err := strconv.Atoi(string(n.Data))
		if err != nil {
			return err
		}
		_, err = e.b.Apply(e.ctx, store.Set("n", []byte(strconv.Itoa(i+1)), n.Version))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// exactlyOne lets each env create the same records, each with different data.
func exactlyOne(first *env, all ...*env) {
	for round := range 20 {
		key := fmt.Sprintf("k%d/r", round)
		var winner atomic.Value
		var wg sync.WaitGroup
		for i, e := range all {
			wg.Go(func() {
				name := fmt.Sprintf("writer %d", i)
				_, err := e.b.Apply(e.ctx, store.Ensure("both", x), store.Create(key, []byte(name)))
				switch {
				case err == nil:
					if other := winner.Swap(name); other != nil {
						e.Errorf("%v and %s both created %s", other, name, key)
					}
				case !errors.Is(err, store.ErrExists):
					e.Errorf("Apply: %v, want ErrExists", err)
				}
			})
		}
		wg.Wait()
		if got := string(first.get(key).Data); got != winner.Load() {
			first.Errorf("%s holds %q, but %v won", key, got, winner.Load())
		}
	}
}

// bumps lets each env bump one record concurrently. The version that an env read
// before its Bump must then be outdated.
func bumps(all ...*env) {
	all[0].create("mark", "x")
	var wg sync.WaitGroup
	for i, e := range all {
		wg.Go(func() {
			for round := range 20 {
				before, err := e.b.Get(e.ctx, "mark", store.Latest)
				if err == nil {
					_, err = e.b.Apply(e.ctx, store.Bump("mark", y), store.Create(fmt.Sprintf("by/%d-%d", i, round), x))
				}
				if err != nil {
					e.Errorf("Bump: %v", err)
					return
				}
				if _, err := e.b.Apply(e.ctx, store.Check("mark", before.Version)); !errors.Is(err, store.ErrConflict) {
					e.Errorf("Check at the version from before the Bump: %v, want ErrConflict", err)
				}
			}
		})
	}
	wg.Wait()
}

// refusedAmongOthers mixes transactions that must succeed with others that must
// be refused, so that both kinds meet in a backend that groups transactions.
func refusedAmongOthers(e *env) {
	e.create("exists", "x")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				good := fmt.Sprintf("good/%d-%d", w, i)
				if _, err := e.b.Apply(e.ctx, store.Create(good, x)); err != nil {
					e.Errorf("%s: %v", good, err)
				}
				bad := fmt.Sprintf("bad/%d-%d", w, i)
				_, err := e.b.Apply(e.ctx, store.Create(bad, x), store.Create("exists", y))
				var op *store.OpError
				if !errors.Is(err, store.ErrExists) || !errors.As(err, &op) || op.Index != 1 {
					e.Errorf("%s: %v, want ErrExists of operation 1", bad, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(e.names("good", store.Latest)); got != 8*25 {
		e.Errorf("%d good records, want %d", got, 8*25)
	}
	for w := range 8 {
		for i := range 25 {
			e.lacks(fmt.Sprintf("bad/%d-%d", w, i))
		}
	}
}

// together writes the same number to two records in each transaction. A reader
// that reads one and then the other must never find a smaller number in the
// second.
func together(writer, reader *env) {
	v := writer.apply(store.Create("a", []byte("0")), store.Create("b", []byte("0")))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i <= 200; i++ {
			data := []byte(strconv.Itoa(i))
			var err error
			if v, err = writer.b.Apply(writer.ctx, store.Set("a", data, v[0]), store.Set("b", data, v[1])); err != nil {
				writer.Errorf("Apply: %v", err)
				return
			}
		}
	}()
	for round := 0; ; round++ {
		select {
		case <-done:
			return
		default:
		}
		first, second := "a", "b"
		if round%2 == 1 {
			first, second = "b", "a"
		}
		earlier, err1 := strconv.Atoi(string(reader.get(first).Data))
		later, err2 := strconv.Atoi(string(reader.get(second).Data))
		if err1 != nil || err2 != nil || later < earlier {
			reader.Errorf("%s was at %d, and then %s at %d", first, earlier, second, later)
			<-done
			return
		}
	}
}

// everything runs all calls concurrently. It is meant for the race detector.
func everything(e *env) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				key := fmt.Sprintf("k/%d/%d", w, i)
				notified := e.watch(e.ctx, key)
				versions, err := e.b.Apply(e.ctx, store.Create(key, x))
				if err != nil {
					e.Errorf("Apply: %v", err)
					return
				}
				select {
				case <-notified:
				case <-e.ctx.Done():
					e.Errorf("%s: no notification", key)
					return
				}
				if _, err := e.b.Children(e.ctx, "k", store.Cached); err != nil {
					e.Errorf("Children: %v", err)
				}
				if _, err := e.b.Apply(e.ctx, store.Delete(key, versions[0])); err != nil {
					e.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
