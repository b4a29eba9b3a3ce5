package iamtest

import (
	"errors"
	"testing"

	"secretstore/iam"
	"secretstore/store"
)

type counter struct{ loads, changes, forgets int }

func (c *counter) Load(uint64, []iam.Record, int)             { c.loads++ }
func (c *counter) Change(uint64, []iam.Record, []string, int) { c.changes++ }
func (c *counter) Forget()                                    { c.forgets++ }

func TestBothServersLearnOfAChange(t *testing.T) {
	var c Cluster
	a, b := c.Server(), c.Server()
	var heardByA, heardByB counter
	a.Follow(&heardByA)
	b.Follow(&heardByB)
	put := []iam.Record{{Name: "user/alice", Data: []byte("x")}}
	if err := a.Apply(t.Context(), 0, put, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), 0, put, nil); !errors.Is(err, iam.ErrConflict) {
		t.Errorf("a change of an old state: %v", err)
	}
	b.Fail(store.ErrUnavailable)
	if err := b.Check(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without storage: %v", err)
	}
	if heardByA != (counter{loads: 1, changes: 1}) || heardByB != (counter{loads: 1, changes: 1}) {
		t.Errorf("a heard %+v, b heard %+v", heardByA, heardByB)
	}
}
