package config

import "errors"

// The values of --security-mode.
const (
	modeDisabled   = "disabled"
	modePermissive = "permissive"
	modeStrict     = "strict"
)

// parseSecurityMode knows all three modes and accepts only the default: accepting
// "strict" and then serving plain HTTP would be worse than refusing it.
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
