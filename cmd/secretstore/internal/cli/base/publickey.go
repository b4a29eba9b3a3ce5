package base

import (
	"encoding/base64"
)

// ReadPublicKeys reads the public keys of holders, one from each file, and returns
// them in base64.
func ReadPublicKeys(p *Process, files []string) ([]string, error) {
	var all []string
	for _, file := range files {
		key, err := readPublicKey(p, file)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// readPublicKey returns the base64 that the API takes. Content that is base64
// already is passed on; the server checks it.
func readPublicKey(p *Process, file string) (string, error) {
	data, err := ReadText(p, file)
	if err != nil {
		return "", err
	}
	if len(data) == 0 {
		return "", Usagef("%s is empty; it should hold the output of gpg --export ID", file)
	}
	if isBase64(data) {
		return string(data), nil
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// isBase64 reports whether data is base64 with white space anywhere. A binary
// key has bytes above 127 and an armored one has dashes.
func isBase64(data []byte) bool {
	for _, b := range data {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '+', b == '/', b == '=':
		case b == ' ', b == '\n', b == '\r', b == '\t':
		default:
			return false
		}
	}
	return true
}
