//go:build long && gpg

package pgp

import "testing"

// TestMessagesToLargeKeysOpen: an RSA key of 4096 bits takes seconds to make.
func TestMessagesToLargeKeysOpen(t *testing.T) {
	openedByBoth(t, []keyKind{kindOf("rsa4096")})
	openedWithSqKeys(t, "rsa4k")
}
