package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"secretstore/internal/textfile"
)

// Certificate is a file with certificates.
type Certificate struct {
	Option string // that names it, without dashes
	Path   string
	// Ends is when the file is of no more use: the first end of a chain, or the
	// last of several CAs.
	Ends time.Time
}

// Holder is the PGP key of a holder of the unseal key.
type Holder struct {
	Fingerprint string
	Ends        time.Time // zero: never
}

const (
	// soon is how long before its end something is serious, and early how long
	// before a warning is due: the same as in secretstore status.
	soon  = 7 * 24 * time.Hour
	early = 30 * 24 * time.Hour
)

func checkExpiry(f *Facts) (all []Finding) {
	add := func(subject, what string, ends time.Time, fix string) {
		left := ends.Sub(f.Now)
		if ends.IsZero() || left > early {
			return
		}
		severity, verb := Warning, "expires"
		if left <= soon {
			severity = Serious
		}
		if left <= 0 {
			verb = "expired"
		}
		all = append(all, Finding{CheckExpiry, severity, subject, fmt.Sprintf("%s %s on %s", what, verb, ends.UTC().Format(time.DateOnly)), fix})
	}
	for _, c := range f.Certificates {
		add(c.Path, "the certificate of --"+c.Option, c.Ends, "put a new certificate into the file; see docs/tls.md")
	}
	for _, h := range f.Holders {
		add(h.Fingerprint, "the PGP key of a holder", h.Ends,
			"extend it (gpg --quick-set-expire, which its holder runs), then secretstore rekey --pgp-key FILE to the extended key")
	}
	return all
}

// GatherCertificates reads the certificates that the configuration names.
func GatherCertificates(f *Facts, own OwnFiles) {
	selfSigned := ""
	if f.Config.TLSSelfSigned {
		selfSigned = own.SelfSigned
	}
	for _, c := range []struct {
		option, path string
		cas          bool
	}{
		{"tls-cert-file", f.Config.TLSCertFile, false},
		{"tls-self-signed", selfSigned, false},
		{"tls-client-ca", f.Config.TLSClientCA, true},
		{"zk-tls-cert", f.Config.ZKTLSCert, false},
		{"zk-tls-ca", f.Config.ZKTLSCA, true},
	} {
		if c.path == "" {
			continue
		}
		ends, err := endOf(c.path, c.cas)
		if errors.Is(err, fs.ErrNotExist) && c.path == selfSigned {
			continue // the next start makes it
		}
		if err != nil {
			f.Gaps = append(f.Gaps, Gap{CheckExpiry, c.path, err.Error(), "run this as the server's user, on its machine"})
			continue
		}
		f.Certificates = append(f.Certificates, Certificate{c.option, c.path, ends})
	}
}

// maxPEM is the largest file with certificates that is read, in bytes.
const maxPEM = 1 << 20

func endOf(path string, cas bool) (time.Time, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe holds up nobody
	if err != nil {
		return time.Time{}, err
	}
	defer file.Close() // only read
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return time.Time{}, errors.New("it is not a regular file")
	}
	content, err := io.ReadAll(io.LimitReader(file, maxPEM))
	if err != nil {
		return time.Time{}, err
	}
	return endOfPEM(content, cas)
}

// endOfPEM returns when a chain, which needs all of its certificates, or a set of CAs,
// of which one is enough, is of no more use.
func endOfPEM(content []byte, cas bool) (end time.Time, err error) {
	if content, err = textfile.Text(content); err != nil {
		return end, err
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, errors.New("it contains a malformed certificate")
		}
		if end.IsZero() || cas == cert.NotAfter.After(end) {
			end = cert.NotAfter
		}
	}
	if end.IsZero() {
		return end, errors.New("it contains no certificate")
	}
	return end, nil
}

func isURL(s string) bool { return strings.Contains(s, "://") }
