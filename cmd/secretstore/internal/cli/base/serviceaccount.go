package base

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// loginEndpoint is where services of DC/OS log in.
const loginEndpoint = "https://leader.mesos/acs/api/v1/auth/login"

// serviceAccount is the value that services of DC/OS read. The order of the members
// is that of the dcos command.
type serviceAccount struct {
	LoginEndpoint string `json:"login_endpoint"`
	PrivateKey    string `json:"private_key"`
	Scheme        string `json:"scheme"`
	UID           string `json:"uid"`
}

// ServiceAccountSecret returns the secret from which the service uid reads its private
// key.
func ServiceAccountSecret(uid string, key []byte) ([]byte, error) {
	var value bytes.Buffer
	enc := json.NewEncoder(&value)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(serviceAccount{loginEndpoint, string(key), "RS256", uid}); err != nil {
		return nil, fmt.Errorf("encode the service account: %w", err)
	}
	return bytes.TrimSuffix(value.Bytes(), []byte("\n")), nil
}
