package barrier

import (
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/seal/envelope"
)

func testLocator(t testing.TB) *locator {
	t.Helper()
	l, err := newLocator(envelope.NewKey(), "store")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// FuzzZnodeName: a child of a folder that this store did not name is refused.
func FuzzZnodeName(f *testing.F) {
	l := testLocator(f)
	id := l.folderID("f")
	p, err := acl.ParsePath("f/name")
	if err != nil {
		f.Fatal(err)
	}
	at, err := l.locate(p)
	if err != nil {
		f.Fatal(err)
	}
	genuine := at.Key[len(FolderKey(KeySecrets, id))+1:]
	f.Add(genuine)
	f.Add("AAAA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, child string) {
		if name, err := l.openName(id, child); err == nil && (child != genuine || name != "name") {
			t.Fatalf("%q opened as %q", child, name)
		}
		if _, err := l.openFolder(id, []byte(child)); err == nil {
			t.Fatalf("%q is a folder", child)
		}
	})
}

func TestNamesAreInjectiveAndBoundToTheirFolder(t *testing.T) {
	l := testLocator(t)
	component := rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		folder, name, other := component.Draw(t, "folder"), component.Draw(t, "name"), component.Draw(t, "other")
		p, err := acl.ParsePath(folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		at, err := l.locate(p)
		if err != nil {
			t.Fatal(err)
		}
		child := at.Key[len(at.Folder)+1:]
		if back, err := l.openName(l.folderID(folder), child); err != nil || back != name {
			t.Fatalf("%q came back as %q, %v", name, back, err)
		}
		if other != folder {
			if _, err := l.openName(l.folderID(other), child); err == nil {
				t.Fatal("a name opened in another folder")
			}
		}
		sealed, err := l.sealFolder(folder)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := l.openFolder(l.folderID(folder), sealed); err != nil || back != folder {
			t.Fatalf("folder %q came back as %q, %v", folder, back, err)
		}
	})
}

func BenchmarkLocate(b *testing.B) {
	l := testLocator(b)
	p, err := acl.ParsePath("folder/folder/name")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.locate(p); err != nil {
			b.Fatal(err)
		}
	}
}
