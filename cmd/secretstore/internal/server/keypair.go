package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"secretstore/internal/watchfile"
)

// readPair reads a certificate chain and its private key. It returns the errors of
// both files, so that they are reported together. A file named "" is not read. The
// pair is valid only if both files have a name and there is no error.
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
		if n := laterLeaf(cert, key); n > 0 {
			certErr = fmt.Errorf("certificate %d of %s belongs to the key %s: it must come first, before those of its CAs", n, certFile, keyFile)
		}
	}
	return pair, certErr, nil
}

// laterLeaf returns which certificate of a chain belongs to the key, counted from 1,
// if it is not the first; 0 if there is none.
func laterLeaf(chain, key []byte) int {
	for n := 1; ; n++ {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return 0
		}
		if block.Type != "CERTIFICATE" {
			n--
			continue
		}
		if _, err := tls.X509KeyPair(pem.EncodeToMemory(block), key); err == nil && n > 1 {
			return n
		}
	}
}

// readPEM reads a file and checks its content.
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
	_, err := parseCertificates(content)
	return err
}

// readCertificates reads all certificates of a file.
func readCertificates(file string) (all []*x509.Certificate, err error) {
	_, err = readPEM(file, func(content []byte) error {
		all, err = parseCertificates(content)
		return err
	})
	return all, err
}

// parseCertificates returns all certificates of a PEM file. Unlike
// x509.CertPool.AppendCertsFromPEM it skips nothing that is broken: half a file would
// be a file with fewer authorities.
func parseCertificates(content []byte) (all []*x509.Certificate, err error) {
	blocks := 0
	for rest := content; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	switch {
	case bytes.Count(content, []byte("-----BEGIN ")) != blocks:
		return nil, errors.New("contains a PEM block that is malformed or cut off")
	case len(all) == 0:
		return nil, errors.New("contains no PEM certificate")
	}
	return all, nil
}

// checkPrivateKey accepts the forms that crypto/tls accepts. Its errors never contain
// a part of the key.
func checkPrivateKey(content []byte) error {
	block := findPEM(content, func(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") })
	if block == nil {
		return errors.New("contains no PEM private key")
	}
	defer clear(block.Bytes)
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return errors.New("contains a private key with a passphrase; remove the passphrase with: openssl pkey -in FILE -out FILE")
	}
	_, pkcs8 := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(block.Bytes)
	_, ec := x509.ParseECPrivateKey(block.Bytes)
	if pkcs8 != nil && pkcs1 != nil && ec != nil {
		return errors.New("contains a malformed private key")
	}
	return nil
}

// findPEM returns the first block of a kind, or nil.
func findPEM(content []byte, kind func(string) bool) *pem.Block {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil || kind(block.Type) {
			return block
		}
	}
}
