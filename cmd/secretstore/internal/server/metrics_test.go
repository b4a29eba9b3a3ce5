package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/fixture"
)

// scraped returns the values of the page of metrics by name and labels.
func (r *running) scraped(t *testing.T) map[string]float64 {
	t.Helper()
	_, text := r.request(t, "root", "GET", "/metrics", "")
	all := make(map[string]float64)
	for _, m := range regexp.MustCompile(`(?m)^(\w+(?:\{.*\})?) (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		all[m[1]] = v
	}
	return all
}

// TestMetricsOfProcessStorageAndFiles breaks the policy file while the server runs.
func TestMetricsOfProcessStorageAndFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if err := fixture.Certificate(cert, key); err != nil {
		t.Fatal(err)
	}
	policy := write(t, dir, "policy", "users: {}")
	hangup := make(chan os.Signal)
	r := start(t, hangup, "--tls-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key, "--policy-file", policy)
	for range 2 {
		if status, body := r.request(t, "root", "GET", "/secrets/v1/secret/default/none", ""); status != 404 {
			t.Fatalf("%d %s", status, body)
		}
	}
	if status, body := r.request(t, "root", "PUT", "/secrets/v1/secret/default/a", `{"value":"x"}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	got := r.scraped(t)
	if at := got[`secretstore_certificate_expiry_seconds{certificate="server"}`]; at != float64(pair.Leaf.NotAfter.Unix()) {
		t.Errorf("the certificate expires at %v, want %v", at, pair.Leaf.NotAfter.Unix())
	}
	for _, name := range []string{
		`secretstore_storage_duration_seconds_count{call="read"}`, `secretstore_storage_duration_seconds_count{call="write"}`,
		`secretstore_cache_hits_total{cache="tokens"}`, `secretstore_cache_misses_total{cache="tokens"}`, `secretstore_cache_entries{cache="tokens"}`,
		"go_goroutines", "process_open_fds", "process_start_time_seconds", "process_resident_memory_bytes",
		"secretstore_connections", "secretstore_connections_max",
	} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	for _, name := range []string{
		"secretstore_configuration_problems", `secretstore_storage_failures_total{call="read"}`, "secretstore_connections_dropped_total",
	} {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s is %v, %v", name, v, ok)
		}
	}
	build := 0
	for name, v := range got {
		if strings.HasPrefix(name, "secretstore_build_info{") && v == 1 {
			build++
		}
		if strings.HasPrefix(name, "secretstore_feed_") || strings.Contains(name, `cache="records"`) {
			t.Errorf("%s, without ZooKeeper", name)
		}
	}
	if build != 1 {
		t.Errorf("%d lines about the build", build)
	}

	write(t, dir, "policy", "users: [")
	hangup <- nil
	r.log.until(t, "policy file is not usable")
	for deadline := time.Now().Add(time.Minute); r.scraped(t)["secretstore_configuration_problems"] != 1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) { // the page is kept for a second
			t.Fatal("the broken file is in no metric")
		}
	}
}

func TestTheFirstCertificateOfAChainToExpireCounts(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(days int) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2030, 1, days, 0, 0, 0, 0, time.UTC)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	if got := chainExpiry(&tls.Certificate{Certificate: [][]byte{certificate(9), certificate(3), certificate(20)}}); got.Day() != 3 {
		t.Errorf("%v", got)
	}
	if got := chainExpiry(nil); !got.IsZero() {
		t.Errorf("%v without a certificate", got)
	}
}
