package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/restored"
	"secretstore/store"
	"secretstore/store/memory"
)

var root = envelope.NewKey()

const storeID = "5f0c0a5e-0000-4000-8000-000000000001"

func authenticate(sum []byte) ([]byte, error) { return restored.MAC(sum, root), nil }

// example writes a backup in which records change, vanish and come back, and
// returns it with what counts.
func example(t testing.TB) ([]byte, map[store.Key]string) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[store.Key]string)
	put := func(key store.Key, data string) {
		if err := w.Put(key, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if delete(want, key); data != "" {
			want[key] = data
		}
	}
	put("stores/default/config", "config")
	for n := range 20 {
		put(fmt.Sprintf("stores/default/secrets/%02x/F/N%d", n%3, n), fmt.Sprint("secret ", n))
	}
	put("stores/default/secrets/00/F", "folder")
	put("stores/default/deleted/01/F/N1", "deleted")
	put("stores/default/blobs/ID", "head")
	put("stores/default/blobs/ID/0001", "piece")
	put("stores/default/iam/00/N", "user")
	put("stores/default/secrets/01/F/N1", "")
	put("stores/default/secrets/02/F/N2", "changed")
	put("stores/default/secrets/00/F/N3", "")
	put("stores/default/secrets/00/F/N3", "again")
	put("stores/default/secrets/00/F/N99", "") // was never there
	m, err := w.Close(Manifest{Store: storeID, Made: time.Unix(1, 0).UTC()}, authenticate)
	if want := (Counts{Secrets: 19, Deleted: 1, Pieces: 1, Identities: 1, Others: 3}); err != nil || m.Contents != want {
		t.Fatalf("%+v, %v", m, err)
	}
	return out.Bytes(), want
}

func open(data []byte) (*Backup, error) { return Open(bytes.NewReader(data), int64(len(data))) }

func TestABackupIsReadAsItWasWritten(t *testing.T) {
	data, want := example(t)
	b, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[store.Key]string)
	if err := b.Each(func(key store.Key, data []byte) error { got[key] = string(data); return nil }); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if b.Store != storeID || !b.Authentic(root) || b.Authentic(envelope.NewKey()) {
		t.Errorf("%+v", b.Manifest)
	}
	enough := errors.New("enough")
	if err := b.Each(func(store.Key, []byte) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
}

// swapped is a file that somebody replaces after it was read so many times.
type swapped struct {
	*bytes.Reader
	later *bytes.Reader
	reads int // of its beginning
}

func (s *swapped) ReadAt(p []byte, at int64) (int, error) {
	if at == 0 {
		s.reads--
	}
	if s.reads < 0 {
		return s.later.ReadAt(p, at)
	}
	return s.Reader.ReadAt(p, at)
}

// TestABackupThatChangesWhileItIsReadIsRefused: what the MAC is of is the hash of the
// first reading.
func TestABackupThatChangesWhileItIsReadIsRefused(t *testing.T) {
	data, _ := example(t)
	other := bytes.Replace(data, []byte("secret 5"), []byte("secret x"), 1) // as well-formed
	const readings = 2                                                      // of Open
	file := &swapped{bytes.NewReader(data), bytes.NewReader(other), readings}
	b, err := Open(file, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = b.Each(func(_ store.Key, data []byte) error { found = found || string(data) == "secret x"; return nil })
	if !errors.Is(err, ErrDamaged) || !found {
		t.Errorf("a changed record was seen: %t; %v", found, err)
	}
	to := memory.New()
	defer to.Close()
	file.reads = 0
	if err := b.Restore(t.Context(), to, RestoreOptions{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("restored: %v", err)
	}
	if _, err := to.Get(t.Context(), barrier.KeyConfig, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the storage has become a store: %v", err)
	}
}

// TestADamagedBackupIsRefused cuts, changes and splices a backup everywhere.
func TestADamagedBackupIsRefused(t *testing.T) {
	data, _ := example(t)
	other, _ := example(t)
	for at := range data {
		changed := bytes.Clone(data)
		changed[at] ^= 1 << rand.N(8)
		from := rand.N(len(data))
		spliced := append(bytes.Clone(data[:at]), other[from:]...)
		if at == from {
			spliced = nil
		}
		for name, bad := range map[string][]byte{
			"cut": data[:at], "changed": changed, "without a byte": append(bytes.Clone(data[:at]), data[at+1:]...),
			"with one more": append(append(bytes.Clone(data[:at]), 'r'), data[at:]...), "spliced": spliced,
		} {
			b, err := open(bad)
			// The MAC is after what the hash is of: only the root key finds a change of it.
			if err == nil && b.Authentic(root) {
				t.Errorf("byte %d of %d, %s: accepted", at, len(data), name)
			}
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d, %s: %v", at, name, err)
			}
		}
	}
}

// TestAWellHashedBackupIsNotTrusted builds files whose hash is right, as an attacker
// can.
func TestAWellHashedBackupIsNotTrusted(t *testing.T) {
	frame := func(kind byte, key, data string) string {
		s := string([]byte{kind, byte(len(key) >> 8), byte(len(key))}) + key
		if kind == frameRecord {
			s += string([]byte{0, 0, byte(len(data) >> 8), byte(len(data))}) + data
		}
		return s
	}
	manifest := func(text string) string {
		return string([]byte{frameManifest, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
	}
	good := frame(frameRecord, "stores/default/config", "x")
	const named = `"store":"` + storeID + `"`
	const says = `{"format":1,` + named + `,"contents":{"others":1}}`
	for content, ok := range map[string]bool{
		magic + good + manifest(says):                                                true,
		magic + good + good + manifest(says):                                         true,
		magic + good + manifest(`{"format":1,`+named+`}`):                            false,
		magic + good + manifest(`{"format":2,`+named+`,"contents":{"others":1}}`):    false,
		magic + good + manifest(`{`+named+`,"contents":{"others":1}}`):               false,
		magic + good + manifest(`no`):                                                false,
		magic + good + manifest(says) + good:                                         false,
		magic + good:                                                                 false,
		magic + "x" + manifest(says):                                                 false,
		magic + frame(frameRecord, "stores/default/../config", "x") + manifest(says): false,
		magic + frame(frameRecord, "changes/x", "x") + manifest(says):                false,
		magic + frame(frameRecord, "stores/default/tasks/1/x", "x") + manifest(says): false,
		magic + frame(frameRecord, "stores/default/handover", "x") + manifest(says):  false,
		magic + frame(frameRecord, "stores/default/config", "") + manifest(says):     false,
		magic + frame(frameRecord, "", "x") + manifest(says):                         false,
		"secretstore backup 2\n" + good + manifest(says):                             false,
		magic + "r\xff\xff" + manifest(says):                                         false,
		magic + "r\x00\x15stores/default/config\xff\xff\xff\xff" + manifest(says):    false,
		magic + good + string([]byte{frameManifest, 0xff, 0xff, 0xff, 0xff}) + "{}":  false,
	} {
		sum := sha256.Sum256([]byte(content))
		b, err := open(append(append([]byte(content), sum[:]...), make([]byte, sha256.Size)...))
		if ok != (err == nil) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%.80q: %v", content, err)
		}
		if b != nil && b.Authentic(root) {
			t.Errorf("%.80q: authentic", content)
		}
	}
}

// TestTheStoreOfABackupIsAUUID: commands show it, and a terminal must not do what it
// says.
func TestTheStoreOfABackupIsAUUID(t *testing.T) {
	for _, id := range []string{"", "x", storeID + "\x1b[2J", "{" + storeID + "}", strings.ToUpper(storeID), "urn:uuid:" + storeID} {
		var out bytes.Buffer
		w, err := NewWriter(&out)
		if err == nil {
			_, err = w.Close(Manifest{Store: id}, authenticate)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(out.Bytes()); !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	data, _ := example(f)
	f.Add(data[:len(data)-sums])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, content []byte) {
		sum := sha256.Sum256(content)
		b, err := open(append(append(bytes.Clone(content), sum[:]...), sum[:]...))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			return
		}
		if b.Authentic(root) {
			t.Error("authentic")
		}
		var have Counts
		if err := b.Each(func(key store.Key, data []byte) error {
			if !inBackup(key) || len(data) == 0 {
				t.Errorf("%q", key)
			}
			have.add(key, 1)
			return nil
		}); err != nil || have != b.Contents {
			t.Errorf("%+v, %v", have, err)
		}
	})
}

// TestACutStreamIsNotAWholeBackup writes it in pieces of several sizes.
func TestACutStreamIsNotAWholeBackup(t *testing.T) {
	data, _ := example(t)
	for _, size := range []int{1, 7, 64, 65, len(data)} {
		check := func(data []byte) error {
			var out bytes.Buffer
			c := NewCheck(&out)
			for part := range slices.Chunk(data, size) {
				if n, err := c.Write(part); n != len(part) || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
			}
			if !bytes.Equal(out.Bytes(), data) {
				t.Error("it was not passed on")
			}
			return c.Done()
		}
		if err := check(data); err != nil {
			t.Errorf("in pieces of %d: %v", size, err)
		}
		for at := range data {
			if err := check(data[:at]); !errors.Is(err, ErrDamaged) {
				t.Errorf("in pieces of %d, cut at %d: %v", size, at, err)
			}
		}
		if err := check(append(bytes.Clone(data), 'x')); !errors.Is(err, ErrDamaged) {
			t.Errorf("one more: %v", err)
		}
	}
}
