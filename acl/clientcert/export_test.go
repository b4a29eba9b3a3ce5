package clientcert

import "crypto/x509"

// UID returns the user id that a rule finds.
func UID(r Rule, c *x509.Certificate) (string, error) { return r.uid(c) }
