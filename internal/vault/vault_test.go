package vault

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secretstore/internal/vault/barrier"
	"secretstore/internal/vault/kv"
	"secretstore/internal/vault/shares"
	"secretstore/internal/vault/storage"
	"secretstore/internal/vault/vaulttest"
)

// allVersions is more than any secret of the sets has.
const allVersions = 100

func parse(t testing.TB, texts []string) (all [][]byte) {
	t.Helper()
	for _, text := range texts {
		share, err := shares.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, share)
	}
	return all
}

func records(t testing.TB, set vaulttest.Set) storage.Records {
	t.Helper()
	_, records, err := storage.ParseDump(set.Dump)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func open(t testing.TB, s Storage, set vaulttest.Set) *Vault {
	t.Helper()
	config, err := SealConfig(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(t.Context(), s, config, parse(t, set.Shares))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// contents reads everything, by namespace, mount and path. Damage becomes a problem.
func contents(t testing.TB, v *Vault, o Options) (map[string][]any, *Listing) {
	t.Helper()
	l, err := v.List(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]any{}
	for _, s := range l.Secrets {
		name := s.Mount.Namespace + s.Mount.Path + s.Path
		versions, err := s.Read(t.Context())
		if IsDamage(err) {
			l.Note(name, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range versions {
			all[name] = append(all[name], vaulttest.Decode(t, o.JSON()))
		}
	}
	return all, l
}

func TestEachStorageIsReadValueByValue(t *testing.T) {
	for _, name := range vaulttest.Names {
		t.Run(name, func(t *testing.T) {
			set := vaulttest.Load(t, name)
			v := open(t, records(t, set), set)
			for _, versions := range []int{1, 3, allVersions} {
				got, l := contents(t, v, Options{Versions: versions, Now: vaulttest.Now})
				if diff := cmp.Diff(set.Want(versions), got); diff != "" || len(l.Problems) > 0 || len(l.Warnings) > 0 {
					t.Errorf("%d versions: %v, %v\n%.3000s", versions, l.Problems, l.Warnings, diff)
				}
			}
		})
	}
}

func TestAnyThresholdOfSharesOpens(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.5.3")
	s := records(t, set)
	all := parse(t, set.Shares)
	config := barrier.SealConfig{Shares: 5, Threshold: 3}
	for _, pick := range [][]int{{0, 1, 2}, {4, 2, 0}, {3, 3, 1, 3, 4}, {4, 3, 2, 1, 0}} {
		var parts [][]byte
		for _, n := range pick {
			parts = append(parts, all[n])
		}
		v, err := Open(t.Context(), s, config, parts)
		if err != nil {
			t.Fatalf("%v: %v", pick, err)
		}
		v.Close()
	}
	if _, err := Open(t.Context(), s, config, all[:2]); !errors.Is(err, shares.ErrTooFew) {
		t.Errorf("two of three: %v", err)
	}
	all[1][5] ^= 1
	if _, err := Open(t.Context(), s, config, all); !errors.Is(err, barrier.ErrWrongKey) {
		t.Errorf("a changed share: %v", err)
	}
}

// TestBigValuesAreReadWhole: values have up to almost a MiB, the limit of a znode.
func TestBigValuesAreReadWhole(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.8.3-big")
	got, _ := contents(t, open(t, records(t, set), set), Options{Versions: 1, Now: vaulttest.Now})
	want := set.Want(1)
	big := map[int]bool{}
	for path, versions := range want {
		if !cmp.Equal(got[path], versions) {
			t.Errorf("%s is wrong", path)
		}
		for _, value := range versions[0].(map[string]any) {
			if text, ok := value.(string); ok && len(text) >= 300_000 {
				big[len(text)/100_000] = true
			}
		}
	}
	if len(big) < 3 {
		t.Errorf("the set has values of these hundreds of thousands of bytes: %v", big)
	}
}

func TestKeyFromBeforeARekeyIsRefused(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.8.3-big")
	_, err := Open(t.Context(), records(t, set), barrier.SealConfig{Shares: 1, Threshold: 1}, parse(t, set.Old))
	if !errors.Is(err, barrier.ErrWrongKey) {
		t.Errorf("%v, want a wrong key", err)
	}
}

func TestAutoUnsealIsRefusedByName(t *testing.T) {
	set := vaulttest.Load(t, "vault-1.14")
	s := records(t, set)
	s[barrier.SealConfigName] = bytes.Replace(s[barrier.SealConfigName], []byte(`"shamir"`), []byte(`"transit"`), 1)
	_, err := SealConfig(t.Context(), s)
	if !errors.Is(err, barrier.ErrAutoUnseal) || !strings.Contains(err.Error(), "transit") {
		t.Errorf("%v", err)
	}
}

// TestDamagedAndSwappedRecordsAreNamedAndSkipped: everything else is read.
func TestDamagedAndSwappedRecordsAreNamedAndSkipped(t *testing.T) {
	for _, name := range []string{"dcos-vault-0.5.3", "openbao-2.6.2"} { // the long tests have vault-1.14
		damageEach(t, name)
	}
}

// damageEach changes each record of a fixture, and puts another in its place.
func damageEach(t *testing.T, name string) {
	t.Helper()
	set := vaulttest.Load(t, name)
	o := Options{Versions: allVersions, Now: vaulttest.Now}
	for victim, record := range records(t, set) {
		if !strings.Contains(victim, "logical/") {
			continue
		}
		s := records(t, set)
		s[victim] = bytes.Clone(record)
		s[victim][len(record)/2] ^= 1
		checkDamage(t, set, s, o, name+": changed "+victim)
		for other, record := range s {
			if other != victim && strings.Contains(other, "logical/") {
				s[victim] = record
				break
			}
		}
		checkDamage(t, set, s, o, name+": swapped "+victim)
	}
}

// checkDamage checks that no value is wrong, and that one that is missing is named.
func checkDamage(t *testing.T, set vaulttest.Set, s storage.Records, o Options, what string) {
	t.Helper()
	got, l := contents(t, open(t, s, set), o)
	want := set.Want(allVersions)
	missing := 0
	for path, versions := range want {
		switch {
		case got[path] == nil:
			missing++
		case !cmp.Equal(got[path], versions):
			t.Errorf("%s: %s is wrong", what, path)
		}
	}
	if len(got)+missing != len(want) || missing > 0 && len(l.Problems) == 0 {
		t.Errorf("%s: %d of %d secrets, %d problems", what, len(got), len(want), len(l.Problems))
	}
}

// TestDamagedMetadataAreCounted in their mount: without them, nothing is known of the
// secret.
func TestDamagedMetadataAreCounted(t *testing.T) {
	set := vaulttest.Load(t, "openbao-2.6.2")
	s, mounts := records(t, set), map[string][]string{}
	for name := range s {
		if prefix, _, ok := strings.Cut(name, "/"+kv.MetadataPrefix); ok && s[prefix+"/"+kv.SaltName] != nil {
			mounts[prefix] = append(mounts[prefix], name)
		}
	}
	var names []string
	var salt string
	for prefix, all := range mounts {
		if len(all) > len(names) {
			names, salt = all, prefix+"/"+kv.SaltName
		}
	}
	if len(names) < 2 {
		t.Fatal("the fixture has no KV v2 with two secrets")
	}
	damaged := func() (n int) {
		l, err := open(t, s, set).List(t.Context(), Options{Versions: 1, Now: vaulttest.Now})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range l.Mounts {
			n += m.Damaged
		}
		return n
	}
	if n := damaged(); n != 0 {
		t.Errorf("%d of a good source are damaged", n)
	}
	s[names[0]] = []byte("changed")
	s[names[1]] = bytes.Clone(s[names[1]])
	s[names[1]][len(s[names[1]])-1] ^= 1
	if n := damaged(); n != 2 {
		t.Errorf("%d are damaged, not 2", n)
	}
	s[salt] = []byte("changed")
	if n := damaged(); n != len(names) {
		t.Errorf("without the salt %d are damaged, not %d", n, len(names))
	}
}

func TestForeignRecordsAreNamed(t *testing.T) {
	set := vaulttest.Load(t, "dcos-vault-0.8.3")
	s := records(t, set)
	var prefix string
	for name := range s {
		if at, ok := strings.CutSuffix(name, "plain"); ok {
			prefix = at
		}
	}
	s[prefix+"short"], s[prefix+"term"], s[prefix+"old"] = []byte("x"), make([]byte, 64), append([]byte{0, 0, 0, 1, 1}, make([]byte, 60)...)
	got, l := contents(t, open(t, s, set), Options{Versions: 1, Now: vaulttest.Now})
	if !cmp.Equal(got, set.Want(1)) || len(l.Problems) != 3 {
		t.Errorf("%d secrets, %v", len(got), l.Problems)
	}
	for path, want := range map[string]error{"secret/short": barrier.ErrDamaged, "secret/term": barrier.ErrTerm, "secret/old": barrier.ErrUnbound} {
		for _, p := range l.Problems {
			if p.Name == path && !errors.Is(p.Err, want) {
				t.Errorf("%s: %v", path, p.Err)
			}
		}
	}
}

func TestOptionsChooseMountsAndNamespaces(t *testing.T) {
	set := vaulttest.Load(t, "openbao-2.6.2")
	v := open(t, records(t, set), set)
	got, _ := contents(t, v, Options{Versions: 1, Now: vaulttest.Now, Namespace: "team1/"})
	if len(got) != 1 || got["team1/kv/x/y"] == nil {
		t.Errorf("namespace: %v", got)
	}
	got, l := contents(t, v, Options{Versions: 1, Now: vaulttest.Now, Mounts: []string{"near/"}})
	if len(got) != 1 || got["near/l/x"] == nil || len(l.Mounts) != 1 {
		t.Errorf("mount: %v", got)
	}
	if _, err := v.List(t.Context(), Options{Namespace: "nosuch/"}); err == nil {
		t.Error("a missing namespace is not an error")
	}
}

func TestDeletedSecretsAreCountedAndHaveNoValue(t *testing.T) {
	set := vaulttest.Load(t, "vault-1.14")
	_, l := contents(t, open(t, records(t, set), set), Options{Versions: 1, Now: vaulttest.Now, Mounts: []string{"kv/"}})
	// latest-deleted, states, expired; all-destroyed; only-metadata
	if m := l.Mounts[0]; m.Deleted != 3 || m.Destroyed != 1 || m.Valueless != 1 {
		t.Errorf("%+v", m)
	}
}

// slowStorage fails after some reads, as a server that goes away does.
type slowStorage struct {
	storage.Records
	fail string
}

var errAway = errors.New("away")

func (s slowStorage) Record(ctx context.Context, name string) ([]byte, error) {
	if strings.Contains(name, s.fail) {
		return nil, errAway
	}
	return s.Records.Record(ctx, name)
}

func TestErrorsOfTheStorageAreNotDamage(t *testing.T) {
	set := vaulttest.Load(t, "vault-1.14")
	for _, fail := range []string{"/metadata/", "core/mounts", "/salt", "/upgrading"} {
		v := open(t, slowStorage{records(t, set), "\x00"}, set)
		v.storage = slowStorage{records(t, set), fail}
		if _, err := v.List(t.Context(), Options{Versions: 1, Now: vaulttest.Now}); !errors.Is(err, errAway) {
			t.Errorf("%s: %v", fail, err)
		}
	}
}
