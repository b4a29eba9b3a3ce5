package seal

import (
	"encoding/hex"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/memory"
)

func BenchmarkGet256(b *testing.B) {
	s := benchStore(b, memory.New())
	p := path(b, "group/service/secret")
	if _, err := s.Create(b.Context(), p, Change{Kind: Text, Value: make([]byte, 256), Author: "alice"}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), p, store.Cached); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIncarnation is a part of each verification of a token.
func BenchmarkIncarnation(b *testing.B) {
	s := benchStore(b, memory.New())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Incarnation(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchStore returns an unsealed store.
func benchStore(b *testing.B, backend store.Backend) *Store {
	b.Helper()
	s, err := Open(b.Context(), Options{Backend: backend, Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	pub, err := holder.Public(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	key, err := pub.Export()
	if err != nil {
		b.Fatal(err)
	}
	info, err := s.Init(b.Context(), InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{key}})
	if err != nil {
		b.Fatal(err)
	}
	message, err := hex.DecodeString(info.Keys[0])
	if err != nil {
		b.Fatal(err)
	}
	share, err := holder.Unwrap(message)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Unseal(b.Context(), share); err != nil {
		b.Fatal(err)
	}
	return s
}
