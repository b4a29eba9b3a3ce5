package acl

import "time"

// MaxUIDBytes is the length of the longest user id.
const MaxUIDBytes = 256

// Principal is who a verified token names. The zero value is nobody, and is
// denied everything.
type Principal struct {
	// UID is the user id, as in the policy; see [ValidUID].
	UID string
	// Service is set if the token is bound to one service. It may then only
	// read the secrets in the spaces of that service.
	Service Binding
	// Expires is when the token is first refused, leeway included; zero if it
	// never expires. Decisions have no clock: code that keeps a Principal
	// longer than one request checks this itself.
	Expires time.Time
	// Emergency says that it signed in while the store was sealed. Decisions do not
	// look at it: only what is needed to unseal the store is open to it.
	Emergency bool
}

// Binding binds a principal to a service. It is comparable; the zero value
// binds to none.
type Binding struct {
	service Service
	bound   bool
}

// BindTo returns the binding to s. Bound to the root service, a principal may
// only read secrets without a folder.
func BindTo(s Service) Binding { return Binding{s, true} }

// Get returns the service, and whether there is one.
func (b Binding) Get() (Service, bool) { return b.service, b.bound }

// ValidUID reports whether s can be a user id: 1 to [MaxUIDBytes] printable
// ASCII characters, no space at either end. An id goes into audit lines and is
// compared byte by byte, so control characters and look-alikes outside ASCII
// are refused.
func ValidUID(s string) bool {
	if len(s) == 0 || len(s) > MaxUIDBytes || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
