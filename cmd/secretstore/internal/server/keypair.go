package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"secretstore/internal/watchfile"
)

// readPair reads a certificate chain and its private key, and tells what is
// wrong with either file, so that the mistakes of both are reported at once. A
// file without a name is not read; the pair is of use only if both have one and
// there is no error.
func readPair(certFile, keyFile string) (pair tls.Certificate, certErr, keyErr error) {
	var cert, key []byte
	if certFile != "" {
		cert, certErr = readPEM(certFile, checkCertificate)
	}
	if keyFile != "" {
		key, keyErr = readPEM(keyFile, checkPrivateKey)
	}
	defer clear(key)
	if cert == nil || key == nil {
		return pair, certErr, keyErr
	}
	if pair, certErr = tls.X509KeyPair(cert, key); certErr != nil {
		certErr = fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, certErr)
	}
	return pair, certErr, nil
}

// readPEM reads a file and has its first PEM block of a kind checked.
func readPEM(file string, check func([]byte) error) ([]byte, error) {
	content, err := watchfile.Read(file)
	if err != nil {
		return nil, err
	}
	if err := check(content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return content, nil
}

func checkCertificate(content []byte) error {
	block := findPEM(content, func(kind string) bool { return kind == "CERTIFICATE" })
	if block == nil {
		return errors.New("holds no certificate in PEM form")
	}
	_, err := x509.ParseCertificate(block.Bytes)
	return err
}

// checkPrivateKey knows the forms that crypto/tls takes. Errors never hold any
// of the key.
func checkPrivateKey(content []byte) error {
	block := findPEM(content, func(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") })
	if block == nil {
		return errors.New("holds no private key in PEM form")
	}
	defer clear(block.Bytes)
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return errors.New("holds a private key with a passphrase; remove it with: openssl pkey -in FILE -out FILE")
	}
	_, pkcs8 := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(block.Bytes)
	_, ec := x509.ParseECPrivateKey(block.Bytes)
	if pkcs8 != nil && pkcs1 != nil && ec != nil {
		return errors.New("holds a private key that cannot be read")
	}
	return nil
}

// findPEM returns the first block of a kind, nil if there is none.
func findPEM(content []byte, kind func(string) bool) *pem.Block {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil || kind(block.Type) {
			return block
		}
	}
}
