package oidc

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errClaims means that a payload is not one of an ID token for this client.
var errClaims = errors.New("the claims are not those of an ID token")

// claims reads the payload of an ID token. A name that occurs twice makes it
// invalid, since two readers could then read two tokens.
func (p *Provider) claims(payload []byte) (Claims, error) {
	var all map[string]jsontext.Value
	if err := json.Unmarshal(payload, &all); err != nil {
		return Claims{}, errClaims
	}
	var c Claims
	var issued float64
	for name, to := range map[string]any{"iss": &c.Issuer, "sub": &c.Subject, "iat": &issued} {
		if value := all[name]; value.Kind() == 'n' || json.Unmarshal(value, to) != nil {
			return Claims{}, errClaims
		}
	}
	if value, ok := all["azp"]; ok {
		var party string
		if json.Unmarshal(value, &party) != nil || party != p.ClientID {
			return Claims{}, errClaims // it was made for another client
		}
	}
	// Values of other types count as missing: "true" is not true.
	if json.Unmarshal(all["email"], &c.Email) != nil {
		c.Email = ""
	}
	if json.Unmarshal(all["email_verified"], &c.EmailVerified) != nil {
		c.EmailVerified = false
	}
	c.Values = values(all, p.GroupsClaim)
	return c, nil
}

// values returns the strings at the end of a path through objects: one, or a list
// of them.
func values(all map[string]jsontext.Value, path []string) []string {
	for i, name := range path {
		value, ok := all[name]
		if !ok {
			return nil
		}
		if i < len(path)-1 {
			all = nil
			if json.Unmarshal(value, &all) != nil {
				return nil
			}
			continue
		}
		var one string
		if json.Unmarshal(value, &one) == nil && value.Kind() == '"' {
			return []string{one}
		}
		var list []string
		if json.Unmarshal(value, &list) == nil {
			return list
		}
	}
	return nil
}
