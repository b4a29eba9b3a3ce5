package acl

import "errors"

// ErrUnknownAction is returned by [ParseAction].
var ErrUnknownAction = errors.New("unknown action: use create, read, update, delete or full")

// Action is what a grant allows on a resource. The zero value is invalid and
// allows nothing.
type Action uint8

// The actions of DC/OS. Full includes the others.
const (
	Create Action = iota + 1
	Read
	Update
	Delete
	Full
)

var actionNames = [...]string{Create: "create", Read: "read", Update: "update", Delete: "delete", Full: "full"}

// ParseAction reads the lower-case name of an action. It returns
// [ErrUnknownAction] for everything else.
func ParseAction(s string) (Action, error) {
	for a := Create; a <= Full; a++ {
		if actionNames[a] == s {
			return a, nil
		}
	}
	return 0, ErrUnknownAction
}

// String returns the name of the action, and "" for an invalid one.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return ""
}

// actionSet is a set of actions, one bit each.
type actionSet uint8

func (s actionSet) with(a Action) actionSet { return s | 1<<a }

// allows reports whether the set holds a, or full. An invalid action is allowed
// by no set.
func (s actionSet) allows(a Action) bool {
	return a >= Create && a <= Full && s&(1<<a|1<<Full) != 0
}
