package seal

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
)

// FuzzConfigRecord: what an attacker writes there is refused or well-formed.
func FuzzConfigRecord(f *testing.F) {
	pub, err := holder.Public(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	born, err := newBirth([]*pgp.PublicKey{pub}, 1)
	if err != nil {
		f.Fatal(err)
	}
	genuine, err := born.config.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"shares":1,"threshold":1,"keys":[""],"pgp_fingerprints":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err == nil && (c.Shares < 1 || len(c.Keys) != c.Shares || c.Threshold > c.Shares || c.UUID == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}

// FuzzIntent: without the root key nothing parses to a genuine wish to unseal.
func FuzzIntent(f *testing.F) {
	root := envelope.NewKey()
	genuine := unsealedIntent("aa", "store", root).encode()
	f.Add(genuine)
	f.Add(sealedIntent("aa").encode())
	f.Add([]byte(`{"format":1,"seal":"aa","mac":"00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := parseIntent(data)
		if in.unsealedUnder("store", root) && in.Seal != "aa" {
			t.Fatal("a forged intent is genuine")
		}
	})
}

// FuzzPayload: decoding never panics, and what decodes encodes to the same bytes
// in its format.
func FuzzPayload(f *testing.F) {
	p := payload{kind: Text, created: time.Unix(1, 2), author: "a", description: "d", labels: []string{"l", ""}, value: []byte("v"),
		written: time.Unix(3, 4), earlier: historyOf(earlierValue{version: 7, kind: Binary, value: []byte("old")}, earlierValue{version: 2, kind: Text})}
	for format := uint8(1); format <= payloadFormat; format++ {
		for _, size := range []uint64{0, 5 << 20} {
			large := p
			if large.size = size; size > 0 {
				large.value = nil
			}
			data, err := large.appendTo(nil, format)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(format, data)
		}
	}
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		if format < 1 || format > payloadFormat {
			return
		}
		p, err := decodePayload(format, data)
		if err != nil {
			return
		}
		again, err := p.appendTo(nil, format)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("not canonical: %x became %x (%v)", data, again, err)
		}
	})
}

// FuzzKeyring: an authenticated but senseless keyring is an error.
func FuzzKeyring(f *testing.F) {
	data, err := newKeyring().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := decodeKeyring(data); err == nil && k.terms[k.active] == nil {
			t.Fatal("a keyring without its active key")
		}
	})
}

// FuzzZnodeName: a child of a folder that this store did not name is refused.
func FuzzZnodeName(f *testing.F) {
	n := testNamer(f)
	id := n.folderID("f")
	_, genuine, err := n.secretKey(path(f, "f/name"))
	if err != nil {
		f.Fatal(err)
	}
	genuine = genuine[len(folderKeyFor(id))+1:]
	f.Add(genuine)
	f.Add("AAAA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, child string) {
		if name, err := n.openName(id, child); err == nil && (child != genuine || name != "name") {
			t.Fatalf("%q opened as %q", child, name)
		}
		if _, err := n.openFolder(id, []byte(child)); err == nil {
			t.Fatalf("%q is a folder", child)
		}
	})
}

func testNamer(t testing.TB) *namer {
	t.Helper()
	n, err := newNamer(envelope.NewKey(), "store")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNamesAreInjectiveAndBoundToTheirFolder(t *testing.T) {
	n := testNamer(t)
	component := rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		folder, name, other := component.Draw(t, "folder"), component.Draw(t, "name"), component.Draw(t, "other")
		p, err := acl.ParsePath(folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		folderKey, key, err := n.secretKey(p)
		if err != nil {
			t.Fatal(err)
		}
		child := key[len(folderKey)+1:]
		if back, err := n.openName(n.folderID(folder), child); err != nil || back != name {
			t.Fatalf("%q came back as %q, %v", name, back, err)
		}
		if other != folder {
			if _, err := n.openName(n.folderID(other), child); err == nil {
				t.Fatal("a name opened in another folder")
			}
		}
		sealed, err := n.sealFolder(folder)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := n.openFolder(n.folderID(folder), sealed); err != nil || back != folder {
			t.Fatalf("folder %q came back as %q, %v", folder, back, err)
		}
	})
}

func TestPayloadComesBack(t *testing.T) {
	kinds := rapid.SampledFrom([]Kind{Text, Binary})
	times := rapid.Custom(func(t *rapid.T) time.Time { return fromNanoseconds(rapid.Uint64().Draw(t, "time")) })
	values := rapid.SliceOfN(rapid.Byte(), 1, 99)
	rapid.Check(t, func(t *rapid.T) {
		p := payload{
			kind: kinds.Draw(t, "kind"), created: time.Unix(0, rapid.Int64().Draw(t, "created")).UTC(), written: times.Draw(t, "written"),
			author: rapid.StringN(0, 20, MaxAuthor).Draw(t, "author"), description: rapid.StringN(0, 50, MaxDescription).Draw(t, "description"),
			labels: rapid.SliceOfN(rapid.StringN(0, 10, MaxLabel), 1, 5).Draw(t, "labels"), value: values.Draw(t, "value"),
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "earlier values") {
			e := earlierValue{id: envelope.NewID(), version: uint64(100 - i), kind: kinds.Draw(t, "kind"),
				written: times.Draw(t, "written"), value: values.Draw(t, "value")}
			p.earlier.rest = e.appendTo(p.earlier.rest)
		}
		data, err := p.appendTo(nil, payloadFormat)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > p.encodedSize() { // else plaintext is left behind where it was begun
			t.Fatalf("%d bytes, expected to be at most %d", len(data), p.encodedSize())
		}
		back, err := decodePayload(payloadFormat, data)
		if err != nil || !reflect.DeepEqual(*back, p) {
			t.Fatalf("%+v came back as %+v, %v", p, back, err)
		}
	})
}
