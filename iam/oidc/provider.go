package oidc

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"secretstore/iam"
)

// The bounds of a [Provider], in bytes or entries.
const (
	MaxProviders = 64

	maxID         = 64
	maxURL        = 1 << 10
	maxClient     = 1 << 10
	maxCAs        = 64 << 10
	maxClaimNames = 8
	maxClaimBytes = 256
	maxMapped     = 200
)

// Hidden is what clients see in place of a client secret. One that is set to it
// stays as it is.
const Hidden = "********"

// Provider is an OpenID Connect provider that may sign people in. Values are
// immutable. Make it with [Change.Create].
type Provider struct {
	ID          string
	Description string
	// Issuer is compared with the claim iss, byte for byte.
	Issuer string
	// BaseURL is where browsers reach this cluster.
	BaseURL      string
	ClientID     string
	ClientSecret []byte
	// CACerts are PEM certificates. If there are any, no other authority vouches
	// for the provider.
	CACerts string
	// GroupsClaim are the names on the way to the claim with the groups, from the
	// outside to the inside. Empty: groups do not follow from claims.
	GroupsClaim []string
	// Groups are the groups that a value of that claim puts somebody into.
	Groups map[string]iam.GID
	Made   iam.Origin
}

// Change is what a client wants of a provider. A nil member was not given.
type Change struct {
	Description  *string
	Issuer       *string
	BaseURL      *string
	ClientID     *string
	ClientSecret []byte
	VerifyServer *bool
	CACerts      *string
	GroupsClaim  *[]string
	Groups       *map[string]string
}

// invalid refuses a provider.
func invalid(format string, args ...any) error {
	return &iam.Error{Code: iam.InvalidProvider, Text: "Invalid OIDC provider: " + fmt.Sprintf(format, args...)}
}

// Create returns a new provider. The error has the code [iam.InvalidProvider].
func (c *Change) Create(id string, by iam.Origin) (*Provider, error) {
	if !validID(id) {
		return nil, invalid("its id must have 1 to %d lower case letters, digits and -", maxID)
	}
	for name, given := range map[string]bool{"description": c.Description != nil, "issuer": c.Issuer != nil, "base_url": c.BaseURL != nil, "client_id": c.ClientID != nil, "client_secret": c.ClientSecret != nil} {
		if !given {
			return nil, invalid("%s is missing", name)
		}
	}
	if string(c.ClientSecret) == Hidden {
		return nil, invalid("client_secret is the placeholder that answers show; send the secret itself")
	}
	return c.Apply(&Provider{ID: id, Made: by})
}

// Apply returns p as changed. The error has the code [iam.InvalidProvider].
func (c *Change) Apply(p *Provider) (*Provider, error) {
	n := *p
	set(&n.Description, c.Description)
	set(&n.Issuer, c.Issuer)
	set(&n.BaseURL, c.BaseURL)
	set(&n.ClientID, c.ClientID)
	set(&n.CACerts, c.CACerts)
	set(&n.GroupsClaim, c.GroupsClaim)
	n.BaseURL = strings.TrimSuffix(n.BaseURL, "/")
	if c.ClientSecret != nil && string(c.ClientSecret) != Hidden {
		n.ClientSecret = bytes.Clone(c.ClientSecret)
	}
	if c.Groups != nil {
		n.Groups = make(map[string]iam.GID, len(*c.Groups))
		for value, gid := range *c.Groups {
			n.Groups[value] = iam.GID(gid)
		}
	}
	if c.VerifyServer != nil && !*c.VerifyServer {
		return nil, invalid("verify_server_certificate must be true: name the authority of the certificate in ca_certs")
	}
	return &n, n.check()
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func validID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// check has all the rules.
func (p *Provider) check() error {
	if !validID(p.ID) {
		return invalid("its id is not one")
	}
	if err := iam.CheckDescription(p.Description); err != nil {
		return invalid("its description is too long")
	}
	if err := checkIssuer(p.Issuer); err != nil {
		return invalid("issuer %v", err)
	}
	if _, err := parseURL(p.BaseURL); err != nil {
		return invalid("base_url %v", err)
	}
	if !printable(p.ClientID, maxClient) {
		return invalid("client_id must have 1 to %d printable ASCII characters", maxClient)
	}
	if !printable(string(p.ClientSecret), maxClient) {
		return invalid("client_secret must have 1 to %d printable ASCII characters", maxClient)
	}
	if _, err := p.roots(); err != nil {
		return err
	}
	return p.checkGroups()
}

func (p *Provider) checkGroups() error {
	if len(p.GroupsClaim) > maxClaimNames {
		return invalid("groups_claim has more than %d names", maxClaimNames)
	}
	for _, name := range p.GroupsClaim {
		if name == "" || len(name) > maxClaimBytes {
			return invalid("groups_claim has a name that is empty or longer than %d bytes", maxClaimBytes)
		}
	}
	if len(p.Groups) > maxMapped {
		return invalid("groups has more than %d members", maxMapped)
	}
	if len(p.Groups) > 0 && len(p.GroupsClaim) == 0 {
		return invalid("groups needs groups_claim")
	}
	for value, gid := range p.Groups {
		if value == "" || len(value) > maxClaimBytes {
			return invalid("groups has a value that is empty or longer than %d bytes", maxClaimBytes)
		}
		if _, err := iam.ParseGID(string(gid)); err != nil {
			return invalid("groups has an invalid group id")
		}
		if gid == iam.Superusers {
			return invalid("no claim makes superusers: groups must not name the group `superusers`")
		}
	}
	return nil
}

// roots returns the authorities that vouch for the provider; nil are those of the
// system.
func (p *Provider) roots() (*x509.CertPool, error) {
	if p.CACerts == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if len(p.CACerts) > maxCAs || !pool.AppendCertsFromPEM([]byte(p.CACerts)) {
		return nil, invalid("ca_certs must hold PEM certificates, at most %d bytes", maxCAs)
	}
	return pool, nil
}

func printable(s string, limit int) bool {
	return s != "" && len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// Errors of URLs. They do not repeat the URL.
var (
	errURL      = errors.New("must be an http or https URL without user, query and fragment")
	errNotHTTPS = errors.New("must be an https URL (http is for loopback addresses only)")
)

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || !printable(s, maxURL) || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(s, "?#\\") {
		return nil, errURL
	}
	return u, nil
}

// checkIssuer refuses what a provider cannot safely be reached at.
func checkIssuer(s string) error {
	u, err := parseURL(s)
	if err != nil {
		return err
	}
	return checkHTTPS(u)
}

// checkHTTPS refuses plain HTTP to another computer.
func checkHTTPS(u *url.URL) error {
	if u.Scheme == "https" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && ip != nil && ip.IsLoopback() {
		return nil
	}
	return errNotHTTPS
}

// CallbackPath is [CallbackPath] as a browser sees it: the base URL has a path if a
// proxy strips a prefix.
func (p *Provider) CallbackPath() string {
	u, err := parseURL(p.BaseURL)
	if err != nil {
		return CallbackPath // unreachable: check has parsed it
	}
	return u.EscapedPath() + CallbackPath
}

// owns reports whether an account was made for the provider: it names the provider,
// or the issuer as in open DC/OS.
func (p *Provider) owns(a iam.Provider) bool {
	return a.Type == iam.OIDC && (a.ID == p.ID || a.ID == p.Issuer)
}

// mapped returns the groups for the values of the claim, ordered.
func (p *Provider) mapped(values []string) []iam.GID {
	found := make(map[iam.GID]struct{})
	for _, v := range values {
		if gid, ok := p.Groups[v]; ok {
			found[gid] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// recordFormat is the first byte of a record. JSON follows. A reader of this format
// ignores members that it does not know.
const recordFormat = 1

// errBadRecord means that a record is not one that encode could have made.
var errBadRecord = errors.New("the record of the provider is not well-formed")

// stored is the form of a provider in the storage. Names are never reused.
type stored struct {
	ID           string             `json:"id"`
	Description  string             `json:"description,omitempty"`
	Issuer       string             `json:"issuer"`
	BaseURL      string             `json:"base_url"`
	ClientID     string             `json:"client_id"`
	ClientSecret []byte             `json:"client_secret"`
	CACerts      string             `json:"ca_certs,omitempty"`
	GroupsClaim  []string           `json:"groups_claim,omitempty"`
	Groups       map[string]iam.GID `json:"groups,omitempty"`
	Made         storedOrigin       `json:"made"`
}

type storedOrigin struct {
	By iam.UID   `json:"by,omitempty"`
	At time.Time `json:"at"`
}

func (p *Provider) encode() ([]byte, error) {
	text, err := json.Marshal(&stored{p.ID, p.Description, p.Issuer, p.BaseURL, p.ClientID, p.ClientSecret, p.CACerts, p.GroupsClaim, p.Groups, storedOrigin{p.Made.By, p.Made.At}})
	return append([]byte{recordFormat}, text...), err
}

// decode reads the record of the provider id. Whatever breaks a rule of this
// package makes it invalid: it signs no one in.
func decode(id string, record []byte) (*Provider, error) {
	if len(record) == 0 || record[0] != recordFormat {
		return nil, errBadRecord
	}
	var s stored
	if err := json.Unmarshal(record[1:], &s); err != nil {
		return nil, errBadRecord
	}
	p := &Provider{s.ID, s.Description, s.Issuer, s.BaseURL, s.ClientID, s.ClientSecret, s.CACerts, s.GroupsClaim, s.Groups, iam.Origin{By: s.Made.By, At: s.Made.At}}
	if p.ID != id || p.check() != nil {
		return nil, errBadRecord
	}
	return p, nil
}
