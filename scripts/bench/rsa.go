package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 4096) })

// signRSA returns a token as DC/OS issues them, and the key set that it
// verifies with.
func signRSA() (token, keySet string, err error) {
	key, err := rsaKey()
	if err != nil {
		return "", "", fmt.Errorf("make an RSA key: %w", err)
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"uid": "bench"}).SignedString(key)
	if err != nil {
		return "", "", fmt.Errorf("sign a token: %w", err)
	}
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "alg": "RS256", "use": "sig",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
	return token, string(set), err
}
