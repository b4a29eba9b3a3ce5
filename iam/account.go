package iam

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
)

// minPasswordBytes is the rule of DC/OS for passwords, the only one.
const minPasswordBytes = 5

// The bounds of what an account holds, in bytes.
const (
	MaxDescriptionBytes = 4 << 10
	MaxPublicKeyBytes   = 16 << 10
	maxProviderIDBytes  = 1 << 10
)

// NewAccount is what a client says of an account that it wants. A nil member was
// not given.
type NewAccount struct {
	Description  string
	Password     []byte
	PublicKey    *string // PEM of an RSA key
	ProviderType *string
	ProviderID   *string
}

// Check returns the account that n asks for, still without the hash of its
// password. The error has the code [InvalidData] or [InvalidPublicKey]. The order
// of the rules is that of DC/OS.
func (n *NewAccount) Check(uid UID) (User, error) {
	u := User{UID: uid, Description: n.Description, Provider: Provider{Type: Internal}}
	if err := CheckDescription(n.Description); err != nil {
		return User{}, err
	}
	if n.Password != nil && len(n.Password) == 0 {
		return User{}, refuse(InvalidData, "`password` must not be empty when provided")
	}
	if n.PublicKey != nil && *n.PublicKey == "" {
		return User{}, refuse(InvalidData, "`public_key` must not be empty when provided")
	}
	if n.ProviderType != nil {
		u.Provider.Type = ProviderType(*n.ProviderType)
	}
	if err := u.Provider.Type.check(); err != nil {
		return User{}, err
	}
	if u.IsRemote() {
		if n.Password != nil {
			return User{}, refuse(InvalidData, "external provider: `password` is unexpected")
		}
		if n.PublicKey != nil {
			return User{}, refuse(InvalidData, "external provider: `public_key` is unexpected")
		}
	} else if (n.Password == nil) == (n.PublicKey == nil) {
		return User{}, refuse(InvalidData, "One of `password` or `public_key` must be provided")
	}
	if n.Password != nil {
		if err := CheckPassword(n.Password); err != nil {
			return User{}, err
		}
	}
	if n.PublicKey != nil {
		key, err := ParsePublicKey(*n.PublicKey)
		if err != nil {
			return User{}, err
		}
		u.Keys = []Key{key}
	}
	if err := n.checkProviderID(&u.Provider); err != nil {
		return User{}, err
	}
	return u, nil
}

// checkProviderID sets the id of p.
func (n *NewAccount) checkProviderID(p *Provider) error {
	named := p.Type == OIDC || p.Type == SAML
	switch {
	case named && (n.ProviderID == nil || *n.ProviderID == ""):
		return refuse(InvalidData, "Invalid provider_id: provider_id must be provided if provider_type is saml or oidc")
	case !named && n.ProviderID != nil && *n.ProviderID != "":
		return refuse(InvalidData, "Invalid provider_id: provider_id must not be provided unless provider_type is saml or oidc")
	case named && len(*n.ProviderID) > maxProviderIDBytes:
		return refuse(InvalidData, "Invalid provider_id: it is longer than %d bytes", maxProviderIDBytes)
	case named:
		p.ID = *n.ProviderID
	}
	return nil
}

// ParseProviderType returns the provider type s. The error has the code
// [InvalidData].
func ParseProviderType(s string) (ProviderType, error) {
	t := ProviderType(s)
	return t, t.check()
}

func (t ProviderType) check() error {
	switch t {
	case Internal, LDAP, OIDC, SAML:
		return nil
	}
	return refuse(InvalidData, "Invalid provider_type: %s", shown(string(t)))
}

// CheckPassword refuses a password that is too short. The error has the code
// [InvalidData].
func CheckPassword(password []byte) error {
	if len(password) < minPasswordBytes {
		return refuse(InvalidData, "Password does not match rules: Must be at least %d characters long.", minPasswordBytes)
	}
	return nil
}

// CheckDescription refuses a description that is too long. The error has the code
// [InvalidData].
func CheckDescription(s string) error {
	if len(s) > MaxDescriptionBytes {
		return refuse(InvalidData, "The description is longer than %d bytes.", MaxDescriptionBytes)
	}
	return nil
}

// The sizes of RSA keys that are taken, in bits. A larger one makes each sign-in
// expensive.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// ParsePublicKey reads the public key of a service account: RSA, X.509
// SubjectPublicKeyInfo, PEM. The error has the code [InvalidPublicKey].
func ParsePublicKey(text string) (Key, error) {
	bad := func(why string) (Key, error) { return Key{}, refuse(InvalidPublicKey, "Invalid public key: %s", why) }
	if len(text) > MaxPublicKeyBytes {
		return bad("it is too long")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return bad("it is not one PEM block")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil && block.Type == "PUBLIC KEY" {
		return bad("it is not an X.509 SubjectPublicKeyInfo")
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || block.Type != "PUBLIC KEY" {
		return bad("Key must be of type RSA")
	}
	if n := key.N.BitLen(); n < minRSABits || n > maxRSABits {
		return bad("an RSA key must have 2048 to 8192 bits")
	}
	sum := sha256.Sum256(block.Bytes)
	return Key{ID: hex.EncodeToString(sum[:8]), PEM: text}, nil
}
