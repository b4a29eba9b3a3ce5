package config

import "errors"

// The words of --security-mode.
const (
	modeDisabled   = "disabled"
	modePermissive = "permissive"
	modeStrict     = "strict"
)

// parseSecurityMode knows all three modes and lets only the default pass: to
// accept "strict" and then serve plain HTTP would be worse than to refuse it.
func parseSecurityMode(s string) (string, error) {
	word, err := parseOneOf(modeDisabled, modePermissive, modeStrict)(s)
	if err != nil {
		return "", err
	}
	if word != modePermissive {
		return "", errors.New(word + " is not available yet; leave it at " + modePermissive)
	}
	return word, nil
}
