package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/uses"
	"secretstore/store"
	"secretstore/store/memory"
)

var (
	aTask   = strings.Repeat("ab", 16)
	aMinute = time.Unix(60*29_000_000+30, 0)
)

// TestServersCountTaskUsesTogether uses task tokens concurrently on two servers.
func TestServersCountTaskUsesTogether(t *testing.T) {
	s, b, key := unsealed(t)
	other := open(t, b, false)
	if _, err := other.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	for _, uses := range []int{1, 2, 5} {
		id := strings.Repeat("0", 31) + string(rune('0'+uses))
		var succeeded, spent atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				server := []*Store{s, other}[i%2]
				switch err := server.SpendTask(t.Context(), id, aMinute, uses); {
				case err == nil:
					succeeded.Add(1)
				case errors.Is(err, ErrTaskSpent):
					spent.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if int(succeeded.Load()) != uses || int(spent.Load()) != 16-uses {
			t.Errorf("of %d uses: %d succeeded, %d were refused", uses, succeeded.Load(), spent.Load())
		}
		wantErr(t, "TaskSpent afterwards", other.TaskSpent(t.Context(), id, aMinute, uses), ErrTaskSpent)
	}
	if err := s.TaskSpent(t.Context(), aTask, aMinute, 1); err != nil {
		t.Errorf("another token: %v", err)
	}
}

func TestDamagedCountDoesNotRestoreATaskToken(t *testing.T) {
	s, b, _ := unsealed(t)
	if err := s.SpendTask(t.Context(), aTask, aMinute, 1); err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%s/%d/%s", barrier.KeyTasks, aMinute.Unix()/60, aTask)
	for _, junk := range []string{"0", "-1", "01", "x", "1 ", "99999999999999999999"} {
		node, err := b.Get(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), store.Set(key, []byte(junk), node.Version)); err != nil {
			t.Fatal(err)
		}
		wantErr(t, junk, s.SpendTask(t.Context(), aTask, aMinute, 5), ErrCorrupt)
		wantErr(t, junk, s.TaskSpent(t.Context(), aTask, aMinute, 5), ErrCorrupt)
	}
}

func TestSealedStoreSpendsNoTaskTokens(t *testing.T) {
	s, b, _ := unsealed(t)
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "spend", s.SpendTask(t.Context(), aTask, aMinute, 1), ErrSealed)
	_, err := s.TaskTerm()
	wantErr(t, "term", err, ErrSealed)
	_, err = s.TaskMAC(1, nil)
	wantErr(t, "mac", err, ErrSealed)
	if n := children(t, b, barrier.KeyTasks); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestTaskTokenTermsThatAreGoneOrAhead(t *testing.T) {
	s, _, _ := unsealed(t)
	one, err := s.TaskMAC(1, []byte("m"))
	if err != nil || len(one) != 32 {
		t.Fatal(one, err)
	}
	_, err = s.TaskMAC(0, []byte("m"))
	wantErr(t, "a term that is gone", err, ErrTaskTerm)
	_, err = s.TaskMAC(2, []byte("m"))
	wantErr(t, "a term that nobody made", err, ErrTaskTerm)
}

// A token of a term that this server does not know is bad only if the storage
// has no newer keyring. Otherwise a good token would be thrown away.
func TestTaskTokenOfATermThatOnlyTheStorageKnows(t *testing.T) {
	b := &newerKeyring{Backend: memory.New()}
	s, _ := unsealedOn(t, b)
	b.answer.Store(new(func(n store.Node) (store.Node, error) { n.Version++; return n, nil }))
	_, err := s.TaskMAC(2, []byte("m"))
	wantErr(t, "another server has rotated", err, ErrTaskTermAhead)
	wantErr(t, "another server has rotated", err, store.ErrUnavailable)
	b.answer.Store(new(func(store.Node) (store.Node, error) { return store.Node{}, store.ErrUnavailable }))
	_, err = s.TaskMAC(2, []byte("m"))
	wantErr(t, "the storage is away", err, store.ErrUnavailable)
	if errors.Is(err, ErrTaskTerm) {
		t.Error("the token is refused as invalid, although its term cannot be checked")
	}
}

// newerKeyring answers linearizable reads of the keyring differently.
type newerKeyring struct {
	*memory.Backend
	answer atomic.Pointer[func(store.Node) (store.Node, error)]
}

func (b *newerKeyring) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	n, err := b.Backend.Get(ctx, key, c)
	if change := b.answer.Load(); change != nil && key == barrier.KeyKeyring && c == store.Latest {
		return (*change)(n)
	}
	return n, err
}

func TestOnlyUsesOfExpiredTasksAreCollected(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := context.Background()
	later := aMinute.Add(2 * time.Minute)
	for _, expires := range []time.Time{aMinute, later} {
		for _, id := range []string{aTask, strings.Repeat("cd", 16)} {
			if err := s.SpendTask(ctx, id, expires, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.Apply(ctx, store.Create(barrier.KeyTasks+"/foreign", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		now  time.Time
		want int
	}{{aMinute.Add(uses.KeptFor), 3}, {aMinute.Add(uses.KeptFor + 2*time.Minute), 2}, {later.Add(uses.KeptFor + 2*time.Minute), 1}} {
		if err := uses.Collect(ctx, s.Uses, row.now); err != nil {
			t.Fatal(err)
		}
		if n := children(t, b, barrier.KeyTasks); n != row.want {
			t.Errorf("at %v: %d minutes are left, want %d", row.now, n, row.want)
		}
	}
}
