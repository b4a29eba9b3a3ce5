package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/config"
)

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesOfAConfigurationAreLookedAt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	f := Facts{Config: config.Config{
		File:           write(t, in("config"), "", 0o646),
		AuthSecretFile: write(t, in("secret"), "", 0o644), PolicyFile: write(t, in("policy"), "", 0o664), AuthJWKS: "https://example.com/jwks",
		TLSKeyFile: in("missing"), AuditLog: in("no audit yet"),
		Storage: config.Storage{Kind: config.Bolt, Path: write(t, in("s.db"), "x", 0o600)},
	}}
	GatherFiles(&f, os.Geteuid(), OwnFiles{BootstrapKey: write(t, in("s.db.bootstrap.key"), "", 0o604), SelfSigned: in("no certificate yet")})
	GatherDisks(&f)
	findings := map[string]Severity{}
	for _, finding := range Examine(f) {
		if finding.Check == CheckFiles {
			findings[filepath.Base(finding.Subject)] = finding.Severity
		}
	}
	want := map[string]Severity{"config": Serious, "secret": Serious, "policy": Warning, "missing": Unknown, "s.db.bootstrap.key": Serious}
	if len(findings) != len(want) {
		t.Errorf("%v", findings)
	}
	for name, severity := range want {
		if findings[name] != severity {
			t.Errorf("%s: %q, want %q", name, findings[name], severity)
		}
	}
	if len(f.Disks) != 1 || f.Disks[0].Copy != 1 || f.Disks[0].Free == 0 {
		t.Errorf("%+v", f.Disks)
	}
}

// TestOwnerIsJudgedForTheServersUser: root looks at files of another user.
func TestOwnerIsJudgedForTheServersUser(t *testing.T) {
	path, owner := write(t, filepath.Join(t.TempDir(), "f"), "", 0o600), os.Geteuid()
	if owner == 0 {
		owner = 12345
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	for self, want := range map[int]string{owner: "", owner + 1: "serious", AnyUser: "unknown"} {
		f := Facts{Config: config.Config{PolicyFile: path}}
		GatherFiles(&f, self, OwnFiles{})
		all := Examine(f)
		got := ""
		if len(all) > 0 {
			got = string(all[0].Severity)
		}
		if got != want || len(all) > 1 {
			t.Errorf("for the user %d: %+v, want %q", self, all, want)
		}
	}
}

// certificates returns PEM certificates that end at these times.
func certificates(t *testing.T, ends ...time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, end := range ends {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.AddDate(-1, 0, 0), NotAfter: end}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func TestChainEndsWithItsFirstAndCAsWithTheirLast(t *testing.T) {
	early, late := now.AddDate(0, 1, 0), now.AddDate(1, 0, 0)
	for _, order := range [][]time.Time{{early, late}, {late, early}} {
		content := append([]byte("\ufeff"), certificates(t, order...)...) // as some editors write it
		chain, err := endOfPEM(content, false)
		cas, err2 := endOfPEM(content, true)
		if err != nil || err2 != nil || !chain.Equal(early) || !cas.Equal(late) {
			t.Errorf("%v: a chain until %v, CAs until %v, %v %v", order, chain, cas, err, err2)
		}
	}
	for name, content := range map[string]string{"nothing": "", "no PEM": "x", "another kind": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"a bad one": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if end, err := endOfPEM([]byte(content), false); err == nil || !end.IsZero() {
			t.Errorf("%s: %v, %v", name, end, err)
		}
	}
}

func TestCertificateThatCannotBeReadIsAGap(t *testing.T) {
	dir := t.TempDir()
	f := Facts{Config: config.Config{TLSCertFile: filepath.Join(dir, "missing"), ZKTLSCA: dir, ZKTLSCert: write(t, filepath.Join(dir, "c"), "x", 0o600)}}
	GatherCertificates(&f, OwnFiles{})
	if len(f.Gaps) != 3 || len(f.Certificates) != 0 {
		t.Errorf("%+v", f)
	}
	if all := Examine(f); Count(all, Unknown) != 3 || !strings.Contains(all[1].Text, "no certificate") {
		t.Errorf("%+v", all)
	}
}
