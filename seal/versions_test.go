package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// modelValue is one value of the model.
type modelValue struct {
	id      string
	version uint64
	kind    Kind
	value   []byte
}

// modelSecret is a secret of the model: its current value, and the earlier ones,
// newest first.
type modelSecret struct {
	current modelValue
	earlier []modelValue
}

// write is an independent implementation of which earlier values are kept.
func (m *modelSecret) write(v modelValue, keep int) {
	history := append([]modelValue{m.current}, m.earlier...)
	m.current, m.earlier = v, nil
	if len(v.value) > 64<<10 {
		return
	}
	bytes := 0
	for _, old := range history {
		if len(old.value)+35 > 8<<10 {
			continue // too large on its own
		}
		bytes += len(old.value) + 35
		if bytes > 8<<10 || len(m.earlier) == keep {
			return
		}
		m.earlier = append(m.earlier, old)
	}
}

// versionModel runs operations on a secret and on its model.
type versionModel struct {
	t       *rapid.T
	servers []*Store
	path    acl.Path
	keep    int
	live    *modelSecret
	deleted *modelSecret
}

func (m *versionModel) server() *Store { return rapid.SampledFrom(m.servers).Draw(m.t, "server") }

func (m *versionModel) change() Change {
	size := rapid.SampledFrom([]int{0, 1, 50, 700, 3000, 8<<10 - 35, 8<<10 - 34, 64 << 10, 64<<10 + 1, 128 << 10, 200 << 10}).Draw(m.t, "size")
	kind := rapid.SampledFrom([]Kind{Text, Binary}).Draw(m.t, "kind")
	return Change{Kind: kind, Value: bytes.Repeat([]byte{rapid.Byte().Draw(m.t, "byte")}, size)}
}

// want checks an error, and reports whether the operation succeeded.
func (m *versionModel) want(what string, err, want error) bool {
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		m.t.Fatalf("%s: err = %v, want %v", what, err, want)
	}
	return err == nil
}

// wantVersion demands that a write names the version that it left.
func (m *versionModel) wantVersion(what string, got Written) {
	if got.Version != m.live.current.version {
		m.t.Fatalf("%s: version %d, want %d", what, got.Version, m.live.current.version)
	}
}

func (m *versionModel) create(*rapid.T) {
	c := m.change()
	written, err := m.server().Create(m.t.Context(), m.path, c)
	if m.want("Create", err, wantIf(m.live != nil, ErrExists)) {
		m.live = &modelSecret{current: modelValue{written.ID, 1, c.Kind, c.Value}}
		m.wantVersion("Create", written)
	}
}

func (m *versionModel) update(*rapid.T) {
	c := m.change()
	written, err := m.server().Update(m.t.Context(), m.path, c)
	if m.want("Update", err, wantIf(m.live == nil, ErrNotFound)) {
		m.live.write(modelValue{written.ID, m.live.current.version + 1, c.Kind, c.Value}, m.keep)
		m.wantVersion("Update", written)
	}
}

func (m *versionModel) delete(*rapid.T) {
	err := m.server().Delete(m.t.Context(), m.path, nil)
	if m.want("Delete", err, wantIf(m.live == nil, ErrNotFound)) {
		m.live, m.deleted = nil, m.live
	}
}

func (m *versionModel) undelete(*rapid.T) {
	written, err := m.server().Undelete(m.t.Context(), m.path)
	want := wantIf(m.deleted == nil, ErrNotFound)
	if m.live != nil {
		want = ErrExists
	}
	if m.want("Undelete", err, want) {
		if m.live, m.deleted = m.deleted, nil; written.ID != m.live.current.id {
			m.t.Fatalf("undeleted another value")
		}
		m.wantVersion("Undelete", written)
	}
}

func (m *versionModel) purge(*rapid.T) {
	err := m.server().Purge(m.t.Context(), m.path, nil)
	m.want("Purge", err, wantIf(m.live == nil && m.deleted == nil, ErrNotFound))
	m.live, m.deleted = nil, nil
}

func (m *versionModel) deleteVersion(*rapid.T) {
	version := uint64(rapid.IntRange(0, 14).Draw(m.t, "version"))
	err := m.server().DeleteVersion(m.t.Context(), m.path, version, nil)
	secret := m.live
	if secret == nil {
		secret = m.deleted
	}
	if secret == nil {
		m.want("DeleteVersion of nothing", err, ErrNotFound)
		return
	}
	if secret.current.version == version {
		m.want("DeleteVersion of the current one", err, ErrCurrentVersion)
		return
	}
	i := slices.IndexFunc(secret.earlier, func(v modelValue) bool { return v.version == version })
	if m.want("DeleteVersion", err, wantIf(i < 0, ErrNotFound)) {
		secret.earlier = slices.Delete(slices.Clone(secret.earlier), i, i+1)
	}
}

func wantIf(refused bool, err error) error {
	if refused {
		return err
	}
	return nil
}

// check compares everything visible on every server with the model.
func (m *versionModel) check(*rapid.T) {
	ctx := m.t.Context()
	for _, s := range m.servers {
		secret, err := s.Get(ctx, m.path, store.Latest)
		if m.want("Get", err, wantIf(m.live == nil, ErrNotFound)) {
			m.same(secret, m.live.current)
		}
		shown := m.live
		if shown == nil {
			shown = m.deleted
		}
		versions, err := s.Versions(ctx, m.path, store.Latest)
		if !m.want("Versions", err, wantIf(shown == nil, ErrNotFound)) {
			continue
		}
		all := append([]modelValue{shown.current}, shown.earlier...)
		if len(versions.Versions) != len(all) || versions.Deleted.IsZero() != (m.live != nil) {
			m.t.Fatalf("%d versions, want %d; deleted %v", len(versions.Versions), len(all), versions.Deleted)
		}
		for i, v := range versions.Versions {
			if v.ID != all[i].id || v.Version != all[i].version || v.Kind != all[i].kind || v.Size != uint64(len(all[i].value)) ||
				v.Written.IsZero() || v.Current != (i == 0 && m.live != nil) {
				m.t.Fatalf("version %d: %+v", i, v)
			}
			got, err := s.GetVersion(ctx, m.path, v.Version, store.Latest)
			if m.want("GetVersion", err, wantIf(m.live == nil, ErrNotFound)) {
				m.same(got, all[i])
			}
		}
		_, err = s.GetVersion(ctx, m.path, shown.current.version+1, store.Latest)
		m.want("GetVersion of a version to come", err, ErrNotFound)
	}
}

func (m *versionModel) same(got Secret, want modelValue) {
	if got.ID != want.id || got.Version != want.version || got.Kind != want.kind || !bytes.Equal(got.Value, want.value) {
		m.t.Fatalf("version %d, %d bytes; want version %d, %d bytes", got.Version, len(got.Value), want.version, len(want.value))
	}
}

// TestVersionsMatchTheModel runs random operations on two servers. It purges the
// secret at the end, after which the storage must hold no trace of it.
func TestVersionsMatchTheModel(t *testing.T) {
	a, b, key := unsealed(t)
	other := open(t, b, false)
	if _, err := other.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		p, err := acl.ParsePath(fmt.Sprintf("m%d/s", round))
		if err != nil {
			t.Fatal(err)
		}
		m := &versionModel{t: t, servers: []*Store{a, other}, path: p, keep: rapid.SampledFrom([]int{0, 1, 3, 10}).Draw(t, "keep")}
		keepVersions(a, m.keep)
		keepVersions(other, m.keep)
		t.Repeat(map[string]func(*rapid.T){"create": m.create, "update": m.update, "update again": m.update, "delete": m.delete, "undelete": m.undelete,
			"purge": m.purge, "deleteVersion": m.deleteVersion, "": m.check})
		m.purge(t)
		m.check(t)
	})
	a.cleanup.Wait()
	other.cleanup.Wait()
	for _, key := range []store.Key{barrier.KeySecrets, barrier.KeyDeleted, barrier.KeyBlobs} {
		if n := children(t, b, key); n != 0 {
			t.Errorf("%d records below %s are left", n, key)
		}
	}
}

func TestMetadataIsNotPartOfTheHistory(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "a")
	first, second := "first", "second"
	for _, description := range []*string{&first, &second} {
		c := text(*description)
		c.Description = description
		if _, err := s.Update(ctx, p, c); errors.Is(err, ErrNotFound) {
			_, err = s.Create(ctx, p, c)
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.GetVersion(ctx, p, 1, store.Latest); err != nil || string(got.Value) != "first" || got.Description != "second" {
		t.Errorf("%+v, %v", got, err)
	}
}

// firstFormat encodes a text value like the first release.
func firstFormat(value string) []byte {
	var b cryptobyte.Builder
	b.AddUint8(uint8(Text))
	b.AddUint64(uint64(time.Unix(1700000000, 0).UnixNano()))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("alice")) })
	b.AddUint16(0) // description
	b.AddUint16(0) // labels
	b.AddUint8(0)  // the value is not in pieces
	b.AddUint32(uint32(len(value)))
	b.AddBytes([]byte(value))
	return b.BytesOrPanic()
}

// TestRecordsOfTheFirstFormatAreReadAndKeptAsVersions writes records like the
// first release.
func TestRecordsOfTheFirstFormatAreReadAndKeptAsVersions(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	for _, count := range []uint64{1, 4} {
		p := path(t, fmt.Sprint("a", count))
		if _, err := s.Create(ctx, p, text("x")); err != nil {
			t.Fatal(err)
		}
		at, err := s.barrier.Locate(p)
		if err != nil {
			t.Fatal(err)
		}
		node, err := b.Get(ctx, at.Key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		err = s.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
			data := k.Seal(k.SecretPlace(p), envelope.Header{Version: count, ID: envelope.NewID()}, firstFormat("old"))
			return []store.Op{store.Set(at.Key, data, node.Version)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if node, err := b.Get(ctx, at.Key, store.Latest); err != nil || node.Data[2] != 1 {
			t.Fatalf("not written in format 1: %v", err)
		}
		got, err := s.Get(ctx, p, store.Latest)
		if err != nil || string(got.Value) != "old" || got.Version != count || got.Written.IsZero() != (count > 1) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := s.Update(ctx, p, text("new")); err != nil {
			t.Fatal(err)
		}
		versions, err := s.Versions(ctx, p, store.Latest)
		if err != nil || len(versions.Versions) != 2 || versions.Versions[1].ID != got.ID || versions.Versions[0].Version != count+1 {
			t.Errorf("%+v, %v", versions, err)
		}
		if old, err := s.GetVersion(ctx, p, count, store.Latest); err != nil || string(old.Value) != "old" || old.ID != got.ID {
			t.Errorf("%+v, %v", old, err)
		}
	}
}
