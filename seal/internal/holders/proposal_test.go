package holders

import (
	"bytes"
	"testing"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// proposed returns a record for two holders, of whom one is needed.
func proposed(t testing.TB, root *envelope.Key) []byte {
	t.Helper()
	public, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProposal("nonce", []*pgp.PublicKey{public, public}, 1, &Config{Generation: 3})
	if err != nil {
		t.Fatal(err)
	}
	p.Rotate = true
	data, err := p.Encode(root, testStore)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestProposalOpensOnlyInItsStoreAndUnchanged(t *testing.T) {
	root := envelope.NewKey()
	data := proposed(t, root)
	p, err := ParseProposal(root, testStore, data)
	if err != nil || p.Nonce != "nonce" || !p.Rotate || !p.AppliesTo(&Config{Generation: 3}) || p.AppliesTo(&Config{Generation: 4}) || p.Threshold != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	keys, err := p.Keys()
	if err != nil || len(keys) != 2 || keys[0].Fingerprint() != p.Describe()[0].Fingerprint {
		t.Fatalf("%v, %v", keys, err)
	}
	p.Started = p.Started.Add(-time.Hour)
	if r := NewRekey(p, Holding{}); !r.Started.Equal(p.Started) || r.Nonce != p.Nonce {
		t.Errorf("proposed at %v, the rekey started at %v", p.Started, r.Started)
	}
	for what, parse := range map[string]func() (*Proposal, error){
		"another root key": func() (*Proposal, error) { return ParseProposal(envelope.NewKey(), testStore, data) },
		"another store":    func() (*Proposal, error) { return ParseProposal(root, "another", data) },
		"another threshold": func() (*Proposal, error) {
			return ParseProposal(root, testStore, bytes.Replace(data, []byte(`"threshold":1`), []byte(`"threshold":2`), 1))
		},
		"another generation": func() (*Proposal, error) {
			return ParseProposal(root, testStore, bytes.Replace(data, []byte(`"replaces":3`), []byte(`"replaces":4`), 1))
		},
		"no MAC": func() (*Proposal, error) {
			return ParseProposal(root, testStore, bytes.Replace(data, []byte(`"mac"`), []byte(`"mad"`), 1))
		},
	} {
		if p, err := parse(); err == nil {
			t.Errorf("%s: accepted %+v", what, p)
		}
	}
	if _, err := ParseRekey(root, testStore, data); err == nil {
		t.Error("a proposal counts as a rekey")
	}
}

// FuzzProposalRecord: a record from an attacker is refused, or says what a
// genuine one says.
func FuzzProposalRecord(f *testing.F) {
	root := envelope.NewKey()
	genuine := proposed(f, root)
	want, err := ParseProposal(root, testStore, genuine)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(`{"format":1,"threshold":1,"pgp_keys":[""]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProposal(root, testStore, data)
		if err == nil && (p.MAC != want.MAC || p.Nonce != want.Nonce || len(p.PublicKeys) != 2 || p.PublicKeys[0] != want.PublicKeys[0]) {
			t.Fatalf("accepted %s", data)
		}
	})
}
