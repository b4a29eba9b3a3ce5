package wire

import "time"

// Explanation is the answer of GET /explain: whether a user may do something, and
// why.
type Explanation struct {
	UID     string `json:"uid"`
	Action  string `json:"action"` // as it was asked
	Path    string `json:"path,omitempty"`
	Service string `json:"service,omitempty"` // on whose behalf
	Bound   string `json:"bound,omitempty"`   // to which the token is bound
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	// Grants allow it, each by itself. There are none if a rule decides, whatever
	// the grants are.
	Grants []GrantReason `json:"grants,omitempty"`
	// Missing are permissions of which any one would allow it. There are none if
	// no permission would.
	Missing []MissingPermission `json:"missing,omitempty"`
	// Near are at most five grants of the user that nearly allow it: for another action,
	// or on other resources of the same folder.
	Near []GrantReason `json:"near,omitempty"`
}

// MissingPermission is an action on a resource.
type MissingPermission struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
}

// The values of GrantReason.Source and GroupName.Source.
const (
	SourcePolicyFile    = "policy-file"
	SourceServerFlag    = "superuser-flag" // --superuser
	SourceIdentities    = "iam"
	SourceSuperuserFile = "superuser-file"
)

// GrantReason is a grant that allows something.
type GrantReason struct {
	Resource string    `json:"resource"` // as it was granted
	Action   string    `json:"action"`
	Source   string    `json:"source"`
	Line     int       `json:"line,omitzero"` // of the policy file
	By       string    `json:"by,omitempty"`  // who made it
	At       time.Time `json:"at,omitzero"`
	Until    time.Time `json:"until,omitzero"` // when it ends
	// Group has the grant, and Member says how the user came into it. Without
	// them the user has the grant itself.
	Group  string `json:"group,omitempty"`
	Member *Made  `json:"member,omitempty"`
}

// Made says where, or by whom and when, something was made.
type Made struct {
	Line int       `json:"line,omitzero"` // of the policy file
	By   string    `json:"by,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

// WhoCan is the answer of GET /who-can.
type WhoCan struct {
	Action string   `json:"action"`
	Path   string   `json:"path"`
	Users  []string `json:"users"` // in order; never null
	// Groups have grants that allow it to their members.
	Groups []GroupName `json:"groups"`
	// OnBehalf are other users, who may read the secret for services.
	OnBehalf []OnBehalf `json:"on_behalf,omitempty"`
	// Services is the service that may have the secret; so may all below it. "/"
	// means all services. It is only there for reading.
	Services string `json:"services,omitempty"`
}

// GroupName names a group. Groups of the same name in the policy file and in the
// IAM are different.
type GroupName struct {
	Group  string `json:"group"`
	Source string `json:"source"`
}

// OnBehalf is a user who may read a secret for services. The ids of services may
// end in *.
type OnBehalf struct {
	UID      string   `json:"uid"`
	Services []string `json:"services"`
}
