package authority

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/iam"
	"secretstore/iam/password"
)

// still is a storage that does nothing.
type still struct{ iam.Listener }

func (s *still) Follow(l iam.Listener) { s.Listener = l }
func (s *still) Check() error          { return nil }
func (s *still) Apply(context.Context, uint64, []iam.Record, []string) error {
	return iam.ErrConflict
}

func TestEveryRefusalCostsAsMuchAsTheMostExpensiveHash(t *testing.T) {
	hash := func(rounds string) string { return "$6$rounds=" + rounds + "$salt$" + strings.Repeat("k", 86) }
	record := func(u *iam.User) iam.Record {
		u.Generation, u.Provider.Type = iam.Generation{1}, iam.Internal
		data, err := iam.Encode(u)
		if err != nil {
			t.Fatal(err)
		}
		return iam.Record{Name: "user/" + string(u.UID), Data: data}
	}
	s := &still{}
	a, err := New(Config{Storage: s, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.running.Wait() // it would try to write
	defer a.Close()
	check := func(when string, cost int) {
		t.Helper()
		for _, uid := range []string{"cheap", "dear", "nobody", "service", "root"} {
			c := a.credentials(uid)
			if c.cost != cost || (c.who == iam.Identity{}) && c.hash.Rounds() != cost {
				t.Errorf("%s, %s: %d rounds, cost %d", when, uid, c.hash.Rounds(), c.cost)
			}
		}
	}
	s.Load(1, []iam.Record{record(&iam.User{UID: "cheap", Hash: hash("1000")}), record(&iam.User{UID: "service", Keys: []iam.Key{{ID: "k"}}})}, 0)
	check("at first", password.Rounds)
	s.Change(2, []iam.Record{record(&iam.User{UID: "dear", Hash: hash("700000")})}, nil, 0)
	check("with a dear one", 700_000)
	supers, err := ParseSuperusers([]byte("root:" + hash("800000")))
	if err != nil {
		t.Fatal(err)
	}
	a.SetSuperusers(supers)
	check("with a superuser", 800_000)
}
