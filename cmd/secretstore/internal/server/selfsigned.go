package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/atomicfile"
	"secretstore/internal/fingerprint"
)

const (
	// selfSignedLife is how long a certificate of --tls-self-signed is valid. One
	// that has less than selfSignedLeft is made again at the start.
	selfSignedLife = 365 * 24 * time.Hour
	selfSignedLeft = 30 * 24 * time.Hour
)

// selfSignedFile returns the file with key and certificate of --tls-self-signed, or ""
// to keep them in memory: only a bbolt file has a place beside it that is this
// server's.
func selfSignedFile(s config.Storage) string {
	if s.Kind == config.Bolt {
		return s.Path + ".self-signed.pem"
	}
	return ""
}

// signSelf uses the certificate in the file, so that clients need not learn another
// fingerprint after each start, or makes one, for the address that is listened on.
func (c *certificate) signSelf(file, address string, log *zap.Logger) error {
	pair, err := savedPair(file)
	if err != nil {
		return err
	}
	if pair.Leaf == nil || time.Until(pair.Leaf.NotAfter) < selfSignedLeft {
		if pair, err = makePair(file, address); err != nil {
			return fmt.Errorf("make a certificate: %w", err)
		}
	}
	c.current.Store(&pair)
	kept := file
	if kept == "" {
		kept = "in memory: the next start makes another one"
	}
	log.Warn("the TLS certificate is self-signed: name its fingerprint to clients with --server-fingerprint",
		zap.String("fingerprint", fingerprint.Of(pair.Leaf.Raw)), zap.String("kept", kept))
	return nil
}

// savedPair reads key and certificate from one file. They are empty if there is none.
func savedPair(file string) (tls.Certificate, error) {
	if file == "" {
		return tls.Certificate{}, nil
	}
	pair, certErr, keyErr := readPair(file, file)
	if errors.Is(certErr, fs.ErrNotExist) {
		return tls.Certificate{}, nil
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return tls.Certificate{}, err
	}
	return pair, nil
}

// makePair makes a key and a certificate, and saves them in the file unless it is "".
func makePair(file, address string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "secretstore, self-signed"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, // not a CA: its key signs nothing else
	}
	template.DNSNames, template.IPAddresses = ownNames(address)
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(der)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(keyPEM)
	if file != "" {
		both := append(certPEM[:len(certPEM):len(certPEM)], keyPEM...)
		defer clear(both)
		if err := (atomicfile.Rules{Links: true}).WriteFile(file, both, 0o600); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// ownNames returns the names by which clients may reach this server: the host of the
// address, that of the machine, and loopback.
func ownNames(address string) (names []string, ips []net.IP) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(address); err == nil && host != "localhost" {
		hosts = append(hosts, host)
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	for _, host := range hosts {
		switch ip := net.ParseIP(host); {
		case ip != nil && !ip.IsUnspecified():
			ips = append(ips, ip)
		case ip == nil && host != "":
			names = append(names, host)
		}
	}
	return names, ips
}
