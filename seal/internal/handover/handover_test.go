package handover

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"secretstore/seal/envelope"
)

const (
	storeID = "5f0c0a5e-0000-4000-8000-000000000001"
	one     = "00000000000000000000000000000001"
	two     = "00000000000000000000000000000002"
)

func recipient(t *testing.T, id string, root *envelope.Key, key *Key) Recipient {
	t.Helper()
	a, err := Parse(Unsealed(storeID, id, "host (127.0.0.1:1337)", root, key))
	if err != nil {
		t.Fatal(err)
	}
	public, ok := a.PublicKey(storeID, id, root)
	if !ok {
		t.Fatal("a genuine announcement is refused")
	}
	return Recipient{id, public}
}

func TestRootKeyReachesItsRecipientsOnly(t *testing.T) {
	last, next := envelope.NewKey(), envelope.NewKey()
	ours, theirs, later := NewKey(), NewKey(), NewKey()
	record, err := Seal(storeID, last, next, []Recipient{recipient(t, one, last, ours), recipient(t, two, last, theirs)})
	if err != nil {
		t.Fatal(err)
	}
	for id, key := range map[string]*Key{one: ours, two: theirs} {
		if got, err := Open(storeID, id, last, key, record); err != nil || !bytes.Equal(got.Bytes(), next.Bytes()) {
			t.Errorf("server %s: %v", id, err)
		}
	}
	cleared := *ours
	cleared.private = bytes.Clone(ours.private)
	cleared.Clear()
	for name, try := range map[string]struct {
		id  string
		key *Key
	}{
		"a server that was left out":    {"00000000000000000000000000000003", later},
		"a later key of the server":     {one, later},
		"the key of another server":     {one, theirs},
		"a key that has been cleared":   {one, &cleared},
		"another server, with this key": {two, ours},
	} {
		if _, err := Open(storeID, try.id, last, try.key, record); !errors.Is(err, ErrNotForUs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(storeID, one, next, ours, record); !errors.Is(err, envelope.ErrCorrupt) {
		t.Errorf("under another root key: %v", err)
	}
	if _, err := Open("another store", one, last, ours, record); !errors.Is(err, envelope.ErrCorrupt) {
		t.Errorf("in another store: %v", err)
	}
}

// TestLastRootKeyAloneOpensNoHandover: the old form was the next root key under
// the last one.
func TestLastRootKeyAloneOpensNoHandover(t *testing.T) {
	last, next := envelope.NewKey(), envelope.NewKey()
	old := envelope.Seal(last, envelope.Place{Store: storeID, Kind: 6, Path: path}, envelope.Header{Kind: 6, ID: envelope.NewID()}, next.Bytes())
	if _, err := Open(storeID, one, last, NewKey(), old); !errors.Is(err, envelope.ErrCorrupt) {
		t.Errorf("the old form: %v", err)
	}
	record, err := Seal(storeID, last, next, []Recipient{recipient(t, one, last, NewKey())})
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := envelope.Open(last, place(storeID), record)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{string(next.Bytes()), hex.EncodeToString(next.Bytes())} {
		if strings.Contains(string(plain), form) {
			t.Error("the next root key is readable with the last one")
		}
	}
}

func TestOnlyAServerWithTheRootKeyAnnouncesAKey(t *testing.T) {
	root, key := envelope.NewKey(), NewKey()
	genuine, err := Parse(Unsealed(storeID, one, "host", root, key))
	if err != nil {
		t.Fatal(err)
	}
	other := genuine
	other.Name = "another host"
	swapped := genuine
	swapped.Key = hex.EncodeToString(NewKey().public)
	unsigned := genuine
	unsigned.MAC = ""
	sealed, err := Parse(Sealed("host"))
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		a         Announcement
		store, id string
		root      *envelope.Key
	}{
		"another name":     {other, storeID, one, root},
		"another key":      {swapped, storeID, one, root},
		"no MAC":           {unsigned, storeID, one, root},
		"sealed":           {sealed, storeID, one, root},
		"another server":   {genuine, storeID, two, root},
		"another store":    {genuine, "x", one, root},
		"another root key": {genuine, storeID, one, envelope.NewKey()},
	} {
		if _, ok := try.a.PublicKey(try.store, try.id, try.root); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok := genuine.PublicKey(storeID, one, root); !ok {
		t.Error("the genuine one is refused")
	}
}

func TestHostileAnnouncementsAreRefused(t *testing.T) {
	for _, data := range []string{"", "null", "[]", "{}", `{"format":2,"name":"a"}`, `{"format":1}`, `{"format":1,"name":"a\nb"}`,
		`{"format":1,"name":"h\u043est"}`, `{"format":1,"name":"a","key":"xy"}`, `{"format":1,"name":"a","key":"AB"}`,
		`{"format":1,"name":"` + strings.Repeat("a", maxName+1) + `"}`} {
		if a, err := Parse([]byte(data)); err == nil {
			t.Errorf("%s: %+v", data, a)
		}
	}
	if _, err := Parse([]byte(`{"format":1,"name":"a","later":true}`)); err != nil {
		t.Errorf("a member of a later release: %v", err)
	}
}

// FuzzAnnouncement checks that nothing panics, and that what is accepted has one
// meaning.
func FuzzAnnouncement(f *testing.F) {
	root, key := envelope.NewKey(), NewKey()
	f.Add(Unsealed(storeID, one, "host (127.0.0.1:1337)", root, key))
	f.Add(Sealed("host"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			return
		}
		if again, err := Parse(a.encode()); err != nil || again != a {
			t.Fatalf("%+v, then %+v, %v", a, again, err)
		}
		a.PublicKey(storeID, one, root)
	})
}

// FuzzHandover checks the content of a record that was written by someone who has
// the last root key.
func FuzzHandover(f *testing.F) {
	last, key := envelope.NewKey(), NewKey()
	f.Add([]byte(`[{"id":"` + one + `","message":"AAAA"}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		record := envelope.Seal(last, place(storeID), envelope.Header{Kind: envelope.KindHandover}, data)
		if _, err := Open(storeID, one, last, key, record); err == nil {
			t.Fatal("a made-up handover opens")
		}
	})
}
