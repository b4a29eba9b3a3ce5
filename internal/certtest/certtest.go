// Package certtest makes authorities and certificates for tests, hostile ones too.
// Only tests may import it.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Name is an alternative name.
type Name struct {
	tag  int
	text string
}

// DNS returns a DNS name with these bytes.
func DNS(text string) Name { return Name{2, text} }

// URI returns a URI with these bytes.
func URI(text string) Name { return Name{6, text} }

// Authority is a CA.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New returns a CA that has signed itself, and is valid for two years around at.
func New(t testing.TB, name string, at time.Time) *Authority {
	t.Helper()
	return (&Authority{}).Below(t, name, at.AddDate(-1, 0, 0), at.AddDate(1, 0, 0))
}

// Below returns a CA that is signed by a.
func (a *Authority) Below(t testing.TB, name string, from, until time.Time) *Authority {
	t.Helper()
	pair := a.Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return Of(pair)
}

// Of returns an authority that signs with the key of a certificate, whether or not
// it may.
func Of(pair tls.Certificate) *Authority {
	return &Authority{pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// Client returns the certificate of a client with the given alternative names, as
// they are.
func (a *Authority) Client(t testing.TB, from, until time.Time, names ...Name) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(names) > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: Alternatives(t, names...)}}
	}
	return a.Sign(t, template)
}

// Sign returns the certificate that template describes, with a new key. The zero
// Authority has it sign itself.
func (a *Authority) Sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	parent, signer := a.Cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Alternatives encodes alternative names, whatever they are.
func Alternatives(t testing.TB, names ...Name) []byte {
	t.Helper()
	var raw []asn1.RawValue
	for _, n := range names {
		raw = append(raw, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n.tag, Bytes: []byte(n.text)})
	}
	value, err := asn1.Marshal(raw)
	must(t, err)
	return value
}

// PEM returns certificates in PEM.
func PEM(all ...*x509.Certificate) (out []byte) {
	for _, c := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// KeyPEM returns the private key of a certificate in PEM.
func KeyPEM(t testing.TB, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
