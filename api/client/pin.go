package client

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"secretstore/internal/fingerprint"
)

// errNotPinned is what is wrong with a certificate whose fingerprint is not
// expected.
var errNotPinned = errors.New("it does not have the fingerprint that was given: if the certificate was replaced, ask the operator of the server for its current fingerprint")

// pin returns a configuration that accepts certificates with one of the
// fingerprints, and no others.
func pin(base *tls.Config, texts []string, servers []*url.URL) (*tls.Config, error) {
	var known []fingerprint.Sum
	for _, text := range texts {
		sum, err := fingerprint.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%q %w", text, err)
		}
		known = append(known, sum)
	}
	for _, s := range servers {
		if s.Scheme != "https" {
			return nil, fmt.Errorf("%s has no certificate whose fingerprint could be compared: its address must begin with https", s)
		}
	}
	if base == nil {
		base = &tls.Config{}
	}
	// Verified below, in resumed sessions as well.
	base.InsecureSkipVerify = true
	further := base.VerifyConnection
	base.VerifyConnection = func(cs tls.ConnectionState) error {
		shown := cs.PeerCertificates
		if len(shown) == 0 || !slices.Contains(known, fingerprint.Sum(sha256.Sum256(shown[0].Raw))) {
			return &tls.CertificateVerificationError{UnverifiedCertificates: shown, Err: errNotPinned}
		}
		if further != nil {
			return further(cs)
		}
		return nil
	}
	return base, nil
}
