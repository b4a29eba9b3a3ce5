package oldstores_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/internal/oldstores"
	"secretstore/seal"
	"secretstore/seal/envelope"
	"secretstore/store"
	"secretstore/store/bolt"
)

// record is one record of a storage.
type record struct {
	key  store.Key
	data []byte
}

// dumpBackend reads all records of a backend.
func dumpBackend(t *testing.T, b store.Backend) (all []record) {
	t.Helper()
	var walk func(key store.Key)
	walk = func(key store.Key) {
		if key != "" {
			if node, err := b.Get(t.Context(), key, store.Latest); err == nil {
				all = append(all, record{key, node.Data})
			}
		}
		list, err := b.Children(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list.Names {
			walk(strings.TrimPrefix(key+"/"+name, "/"))
		}
	}
	walk("")
	return all
}

// termsInUse returns the terms that records are encrypted under.
func termsInUse(t *testing.T, all []record) []uint32 {
	t.Helper()
	terms := map[uint32]bool{}
	for _, r := range all {
		if h, err := envelope.ParseHeader(r.data); err == nil && h.Term > 0 {
			terms[h.Term] = true
		}
	}
	if len(terms) == 0 {
		t.Fatal("no record is under any term")
	}
	return slices.Sorted(maps.Keys(terms))
}

// shape describes a record without its random and secret parts: its key with
// placeholders, and the form of its data.
func shape(r record) string {
	key := r.key
	for _, p := range []struct{ pattern, name string }{
		{`^changes/[0-9a-f]{32}$`, "changes/NODE"},
		{`^stores/default/id/[0-9a-f-]{36}$`, "stores/default/id/UUID"},
		{`^stores/default/marks/[0-9a-f]{2}$`, "stores/default/marks/XX"},
		{`^stores/default/(secrets|deleted)/[0-9a-f]{2}/[0-9a-f]{32}$`, "stores/default/$1/XX/F"},
		{`^stores/default/(secrets|deleted)/[0-9a-f]{2}/[0-9a-f]{32}/[A-Za-z0-9_-]+$`, "stores/default/$1/XX/F/N"},
		{`^stores/default/blobs/[0-9a-f]{32}$`, "stores/default/blobs/ID"},
		{`^stores/default/blobs/[0-9a-f]{32}/[0-9]{6}$`, "stores/default/blobs/ID/NNNNNN"},
		{`^stores/default/tasks/[0-9]+$`, "stores/default/tasks/MINUTE"},
		{`^stores/default/tasks/[0-9]+/[0-9a-f]{32}$`, "stores/default/tasks/MINUTE/ID"},
	} {
		key = regexp.MustCompile(p.pattern).ReplaceAllString(key, p.name)
	}
	return key + ": " + form(r.data, added[key])
}

// added are the members of records that were added since. Earlier releases ignore
// those of the config and of the seal; a rekey that was begun with them has to be
// begun again.
var added = map[store.Key][]string{
	"stores/default/config": {"generation", "mac"},
	"stores/default/rekey":  {"replaces"},
	"stores/default/seal":   {"at", "by"},
}

// form describes the data of a record, without the members in without.
func form(data []byte, without []string) string {
	var object map[string]any
	if h, err := envelope.ParseHeader(data); err == nil {
		return fmt.Sprintf("envelope of kind %d, format %d, with term %v, version %v", h.Kind, h.Format, h.Term > 0, h.Version > 0)
	}
	if json.Unmarshal(data, &object) == nil {
		var fields []string
		for name, value := range object {
			if name == "verify" || slices.Contains(without, name) { // verify: only during the second sweep of a rotation
				continue
			}
			fields = append(fields, fmt.Sprintf("%s %T", name, value))
		}
		slices.Sort(fields)
		return "JSON: " + strings.Join(fields, ", ")
	}
	if len(data) > 4 && string(data[:2]) == "sc" {
		return "change record " + strconv.Quote(string(data[:4]))
	}
	if len(data) <= 2 {
		return strconv.Quote(string(data))
	}
	if regexp.MustCompile(`^[0-9a-f-]{36}$`).Match(data) {
		return "UUID"
	}
	return "other data"
}

// shapesOf returns the shapes of all records with data, each once.
func shapesOf(all []record) []string {
	found := map[string]bool{}
	for _, r := range all {
		if len(r.data) > 0 {
			found[shape(r)] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// oldBolt reads the records of an old store on bbolt.
func oldBolt(t *testing.T, name string) []record {
	t.Helper()
	file := filepath.Join(t.TempDir(), "store.db")
	if err := oldstores.UnpackBolt(filepath.Join(stores, name), file); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return dumpBackend(t, b)
}

// TestNewBoltStoreHasTheOldLayout: the current code writes records with the same
// keys and forms as the earlier release, so that each can read the other's.
func TestNewBoltStoreHasTheOldLayout(t *testing.T) {
	var before, now []record
	for _, dir := range names(t, "bolt") {
		before = append(before, oldBolt(t, filepath.Base(dir))...)
	}
	for _, holders := range [][]int{{1, 2, 3}, {4}} {
		file := filepath.Join(t.TempDir(), "store.db")
		b, err := bolt.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		makeStore(t, b, holders)
		if b, err = bolt.Open(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		now = append(now, dumpBackend(t, b)...)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(shapesOf(before), shapesOf(now)); diff != "" {
		t.Errorf("forms of records (-before +now):\n%s", diff)
	}
}

// makeStore makes a store with records of all forms, and closes its backend.
func makeStore(t *testing.T, b store.Backend, holders []int) {
	t.Helper()
	ctx := t.Context()
	s, err := seal.Open(ctx, seal.Options{Backend: b, KeepVersions: 3, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	threshold := min(2, len(holders))
	params := seal.InitParams{Shares: len(holders), Threshold: threshold}
	for _, holder := range holders {
		key, err := oldstores.PublicKey(stores, holder)
		if err != nil {
			t.Fatal(err)
		}
		params.PGPKeys = append(params.PGPKeys, key)
	}
	x := &tester{T: t, Store: s}
	if _, err := s.Init(ctx, params); err != nil {
		t.Fatal(err)
	}
	x.unseal(holders, threshold, false)
	last := acl.Path{}
	for _, size := range []int{10, 140_000} {
		for _, p := range []string{"group/kept", "group/last"} {
			change := seal.Change{Kind: seal.Text, Value: []byte(strings.Repeat("v", size)), Author: "alice"}
			last = parse(t, p+strconv.Itoa(size))
			if _, err := s.Create(ctx, last, change); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(ctx, last, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SpendTask(ctx, strings.Repeat("1f", 16), time.Now().Add(time.Hour), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	x.awaitRotation()
	info, err := s.InitInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rekey := seal.RekeyParams{InitParams: params}
	for i := range threshold {
		rekey.Current = append(rekey.Current, []byte(x.share(holders[i], info.Keys[i])))
	}
	if _, err := s.StartRekey(ctx, rekey); err != nil {
		t.Fatal(err)
	}
	if len(holders) > 1 {
		if _, err := s.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
