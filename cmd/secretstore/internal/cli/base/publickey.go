package base

import (
	"encoding/base64"
	"errors"
	"time"

	"secretstore/seal/pgp"
)

// ReadPublicKeys reads one public key from each file. It returns them, and the base64
// of each that the API takes. Its errors name the file: the server, which checks the
// keys too, does not know it.
func ReadPublicKeys(p *Process, files []string) (keys []*pgp.PublicKey, texts []string, err error) {
	for _, file := range files {
		text, err := readPublicKey(p, file)
		if err != nil {
			return nil, nil, err
		}
		key, err := pgp.ParsePublicKey(text, time.Now())
		var refused *pgp.KeyError
		switch {
		case errors.As(err, &refused) && refused.Private:
			return nil, nil, Usagef("%s: %s, which was not sent; give the public key, made by: gpg --export ID", file, refused.Reason)
		case err != nil:
			return nil, nil, Usagef("%s: %v", file, err)
		}
		keys, texts = append(keys, key), append(texts, text)
	}
	return keys, texts, nil
}

// ReadHolders is ReadPublicKeys for the holders of an unseal key, who must be
// different people.
func ReadHolders(p *Process, files []string) ([]string, error) {
	keys, texts, err := ReadPublicKeys(p, files)
	if err != nil {
		return nil, err
	}
	from := make(map[string]string)
	for i, key := range keys {
		id := key.Fingerprint()
		if first, twice := from[id]; twice {
			return nil, Usagef("%s and %s hold the same key, %s: one person would have two shares", first, files[i], id)
		}
		from[id] = files[i]
	}
	return texts, nil
}

// readPublicKey returns the base64 of what is in a file, or base64 that is in it.
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
