package oidc

import (
	"strings"
	"time"

	"secretstore/iam"
)

// Claims are what a provider vouches for. Its signature was verified.
type Claims struct {
	Issuer  string
	Subject string
	// Email is empty if there is none.
	Email         string
	EmailVerified bool
	// Values are those of the claim with the groups.
	Values []string
}

// Rules are the settings of all providers. With the zero value, no one can sign in.
type Rules struct {
	// CreateUsers makes an account for everybody whom a provider vouches for.
	CreateUsers bool
	// FirstUser makes one while there is no account of a person.
	FirstUser bool
	// Reserved reports whether a uid is named by the configuration, so that no
	// provider stands for it.
	Reserved func(iam.UID) bool
}

// Decision is who has signed in, and what has to be written before that counts.
type Decision struct {
	Who    iam.Identity
	Change iam.Change
}

// Refused refuses a sign-in. Clients see the text.
type Refused struct{ Text string }

func (e *Refused) Error() string { return e.Text }

// The refusals of DC/OS, which clients know, and ours in the same form.
const (
	tokenFailed = "OpenID Connect ID Token login failed: "
	loginFailed = "ID Token login failed: "

	textBadToken      = tokenFailed + "bad token"
	textExpired       = tokenFailed + "token expired"
	textNoEmail       = tokenFailed + "ID Token lacks non-standard claim: email"
	textNotVerified   = tokenFailed + "ID Token must have `\"email_verified\": true` claim"
	textUnknown       = loginFailed + "user unknown"
	textOtherType     = loginFailed + "provider type mismatch"
	textOtherProvider = loginFailed + "provider ID mismatch"
	textOtherSubject  = loginFailed + "the account belongs to another subject of the provider"
	textNotUID        = loginFailed + "the e-mail address is not a user id"
	textReserved      = loginFailed + "no provider signs this user in"
)

// maxSubject is the limit of OpenID Connect, in bytes.
const maxSubject = 255

// Decide decides who has signed in with p. The account that is bound to issuer and
// subject counts. Without one, the e-mail address has to be the uid of an account
// that was made for p and is not bound yet, or of a new one if rules allow that.
//
// Errors are a *[Refused], or those of [iam.Directory.SignInRemote].
func Decide(d *iam.Directory, p *Provider, c Claims, rules Rules, now time.Time) (Decision, error) {
	switch {
	case c.Issuer == "" || c.Issuer != p.Issuer || !printable(c.Subject, maxSubject):
		return Decision{}, &Refused{textBadToken}
	case c.Email == "":
		return Decision{}, &Refused{textNoEmail}
	case !c.EmailVerified:
		return Decision{}, &Refused{textNotVerified}
	}
	by := iam.Origin{At: now}
	groups := p.mapped(c.Values)
	u := d.Bound(c.Issuer, c.Subject)
	if u == nil {
		uid, err := uidOf(c.Email)
		if err != nil {
			return Decision{}, err
		}
		if rules.reserves(d, uid) {
			return Decision{}, &Refused{textReserved}
		}
		if u, err = d.User(uid); err != nil {
			return create(d, uid, p, c, rules, by)
		}
	}
	switch {
	case rules.reserves(d, u.UID):
		return Decision{}, &Refused{textReserved}
	case u.Provider.Type != iam.OIDC:
		return Decision{}, &Refused{textOtherType}
	case !p.owns(u.Provider):
		return Decision{}, &Refused{textOtherProvider}
	case u.Provider.Subject != "" && (u.Provider.Subject != c.Subject || u.Provider.Issuer != c.Issuer):
		return Decision{}, &Refused{textOtherSubject}
	}
	change, err := d.SignInRemote(u.UID, c.Issuer, c.Subject, groups, by)
	if err != nil {
		return Decision{}, err
	}
	return Decision{iam.Identity{UID: u.UID, Generation: u.Generation}, change}, nil
}

// create makes an account, if rules allow it.
func create(d *iam.Directory, uid iam.UID, p *Provider, c Claims, rules Rules, by iam.Origin) (Decision, error) {
	if !rules.CreateUsers && !(rules.FirstUser && !d.HasPeople()) {
		return Decision{}, &Refused{textUnknown}
	}
	n := iam.User{UID: uid, Description: c.Email, Provider: iam.Provider{Type: iam.OIDC, ID: p.ID}}
	change, err := d.CreateRemoteUser(n, c.Issuer, c.Subject, p.mapped(c.Values), by)
	if err != nil {
		return Decision{}, err
	}
	made := change.Put[0].(*iam.User)
	return Decision{iam.Identity{UID: uid, Generation: made.Generation}, change}, nil
}

// reserves reports whether no provider may stand for a uid.
func (r Rules) reserves(d *iam.Directory, uid iam.UID) bool {
	return r.Reserved == nil || r.Reserved(uid) || d.OfFile(uid)
}

// uidOf returns the uid that an e-mail address is. Others have to be changed for
// that, as DC/OS does, and two addresses could then be one uid.
func uidOf(email string) (iam.UID, error) {
	local, domain, ok := strings.Cut(email, "@")
	uid, err := iam.ParseUID(email)
	if err != nil || !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", &Refused{textNotUID}
	}
	return uid, nil
}
