package scrub

import (
	"bytes"
	"crypto/rand"
	"testing"
)

func TestDoRunsOnceAndPassesPanicsOn(t *testing.T) {
	runs := 0
	Do(func() { runs++ })
	if runs != 1 {
		t.Errorf("it ran %d times", runs)
	}
	defer func() {
		if p := recover(); p != "failure" {
			t.Errorf("panic: %v", p)
		}
	}()
	Do(func() { panic("failure") })
	t.Error("the panic was lost")
}

func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		Memory()
	}
}

// garbage makes objects of all sizes that hold the secret, every eighth of them
// among objects that stay in use.
func garbage(secret hidden) (kept [][]byte, withPointers []*object) {
	for size := len(secret.a); size < 40<<10; size += 1 + size/7 {
		for i := range 64 {
			b := make([]byte, size)
			if i%8 == 0 {
				kept = append(kept, b)
			} else {
				secret.reveal(b)
				dropped = b
			}
		}
	}
	for i := range 4096 {
		o := &object{next: &kept[0][0]}
		if i%8 == 0 {
			withPointers = append(withPointers, o)
		} else {
			secret.reveal(o.secret[:])
			droppedObject = o
		}
	}
	dropped, droppedObject = nil, nil
	return kept, withPointers
}

type object struct {
	next   *byte
	secret [40]byte
}

// They keep objects from the stack.
var (
	dropped       []byte
	droppedObject *object
)

// hidden is a secret that this process holds nowhere in the clear.
type hidden struct{ a, b []byte }

func newHidden() hidden {
	h := hidden{make([]byte, 32), make([]byte, 32)}
	rand.Read(h.a)
	rand.Read(h.b)
	return h
}

// reveal writes the secret byte by byte. It never fills a register: the kernel
// writes registers to the stack of a signal, which the runtime sends to preempt
// a goroutine.
func (h hidden) reveal(into []byte) {
	for i := range h.a {
		into[i] = h.a[i] ^ h.b[i]
	}
}

// in counts how often the secret is in data.
func (h hidden) in(data []byte) (n int) {
	first := h.a[0] ^ h.b[0]
	for {
		i := bytes.IndexByte(data, first)
		if i < 0 || len(data)-i < len(h.a) {
			return n
		}
		same := true
		for j := range h.a {
			same = same && data[i+j] == h.a[j]^h.b[j]
		}
		if same {
			n++
		}
		data = data[i+1:]
	}
}
