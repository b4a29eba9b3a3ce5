//go:build long && zookeeper && gpg

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/zktest"
)

// alertPatience bounds each wait for an alert: some need ten samples and more.
const alertPatience = 5 * time.Minute

// TestEachAlertIsFiredByItsFault has a real Prometheus scrape real servers each
// second and evaluate the rules that we ship, but that a fault has to last ("for") ten
// seconds at most, which a busy machine may need to answer once. Each fault is made while
// the alert does not fire, and fires it. A server without a fault fires none. Every query
// of the dashboard has a result.
func TestEachAlertIsFiredByItsFault(t *testing.T) {
	p := startPrometheus(t)
	zookeeper := zktest.Start(t)
	began := time.Now()
	healthy := p.bolt(t, "--audit-log", filepath.Join(t.TempDir(), "audit.log"))
	healthy.scrape(t)
	healthy.want(t, "PUT", "/secret/default/a", `{"value":"x"}`, 201)
	healthy.keepDoing(t, 1, func(int) { // enough for one slow answer not to be 1 % of them
		healthy.try("GET", "/secret/default/a", "")
		healthy.try("PATCH", "/secret/default/a", `{"value":"y"}`)
		time.Sleep(100 * time.Millisecond)
	})
	fired := make(map[string]bool)
	var mu sync.Mutex
	t.Run("faults", func(t *testing.T) {
		for name, fault := range alertFaults {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for _, alert := range fault(t, p, zookeeper.Addr()) {
					mu.Lock()
					fired[alert] = true
					mu.Unlock()
				}
			})
		}
	})
	// No server has made a backup, and the alert is about all servers of a job.
	eventually(t, "the alert about old backups fires", func() bool {
		return len(p.query(t, `ALERTS{alertname="SecretstoreBackupOld",alertstate="firing"}`)) > 0
	})
	fired["SecretstoreBackupOld"] = true
	for _, rule := range p.alerts {
		if !fired[rule] {
			t.Errorf("no fault fires %s", rule)
		}
	}
	if got := p.query(t, fmt.Sprintf(`count_over_time(ALERTS{instance=%q,alertstate="firing"}[1h])`, healthy.addr)); len(got) != 0 {
		t.Errorf("alerts for the server without a fault: %v", got)
	}
	for _, q := range dashboardQueries(t) {
		during := fmt.Sprintf("query_range?step=1&start=%d&end=%d&query=%s", began.Unix(), time.Now().Unix(), url.QueryEscape(q))
		if len(p.ask(t, during)) == 0 {
			t.Errorf("the dashboard has no result of %s", q)
		}
	}
}

// dashboardQueries returns the queries of all panels, without variables.
func dashboardQueries(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/secretstore.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	plain := strings.NewReplacer("$__rate_interval", "5m", "$job", "secretstore", "$instance", ".+")
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			all = append(all, plain.Replace(target.Expr))
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d queries were found", len(all))
	}
	return all
}

// alertFaults make a fault each, and return the alerts that it has fired.
var alertFaults = map[string]func(t *testing.T, p *prometheus, zookeeper string) []string{
	"killed": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.bolt(t)
		return s.fires(t, s.kill, "SecretstoreDown")
	},
	"killed again and again": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.bolt(t)
		return s.fires(t, func() {
			for range 4 {
				started := fmt.Sprintf(`process_start_time_seconds{instance=%q}`, s.addr)
				before := p.query(t, started)
				s.kill()
				s.start(t)
				within(t, "a sample of the new process", func() bool { return !slices.Equal(before, p.query(t, started)) })
			}
		}, "SecretstoreRestarts")
	},
	"sealed": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.bolt(t)
		return s.fires(t, func() { s.want(t, "PUT", "/seal/default", "", 200) }, "SecretstoreSealed")
	},
	"ZooKeeper hangs": func(t *testing.T, p *prometheus, _ string) []string {
		member := zktest.Start(t)
		s := p.server(t, "--storage", "zk://"+member.Addr()+"/hangs")
		s.want(t, "PUT", "/secret/default/a", `{"value":"x"}`, 201)
		return s.fires(t, func() {
			s.keepDoing(t, 8, func(n int) {
				s.try("GET", "/secret/default/a", "", "Cache-Control", "no-cache")
				s.try("PUT", fmt.Sprintf("/secret/default/b/%d", n), `{"value":"x"}`)
			})
			member.Pause()
			t.Cleanup(member.Resume)
		}, "SecretstoreStorageDown", "SecretstoreFeedLag", "SecretstoreErrors")
	},
	// It hangs for two seconds at a time: long enough for slow calls, too short for the
	// server to lose its connection, after which calls fail fast.
	"ZooKeeper is slow": func(t *testing.T, p *prometheus, _ string) []string {
		member := zktest.Start(t)
		s := p.server(t, "--storage", "zk://"+member.Addr()+"/slow")
		s.want(t, "PUT", "/secret/default/a", `{"value":"x"}`, 201)
		return s.fires(t, func() {
			s.keepDoing(t, 8, func(n int) {
				s.try("GET", "/secret/default/a", "", "Cache-Control", "no-cache")
				s.try("PUT", fmt.Sprintf("/secret/default/b/%d", n), `{"value":"x"}`)
			})
			ctx, stop := context.WithCancel(context.Background())
			var hanging sync.WaitGroup
			hanging.Go(func() {
				for ctx.Err() == nil {
					member.Pause()
					time.Sleep(2 * time.Second)
					member.Resume()
					time.Sleep(50 * time.Millisecond)
				}
			})
			t.Cleanup(func() { stop(); hanging.Wait() })
		}, "SecretstoreStorageSlow", "SecretstoreSlow")
	},
	"disk of the storage full": func(t *testing.T, p *prometheus, _ string) []string {
		disk := t.TempDir()
		s := p.onSmallDisk(t, disk, "--storage", "bolt:"+disk+"/s.db")
		return s.fires(t, func() {
			s.fill(t, disk)
			within(t, "a write that does not fit", func() bool {
				return s.try("PUT", "/secret/default/"+fmt.Sprint(time.Now().UnixNano()), `{"value":"`+strings.Repeat("x", 100_000)+`"}`) == 503
			})
		}, "SecretstoreStorageFull", "SecretstoreStorageTakesNoWrites")
	},
	"key records removed": func(t *testing.T, p *prometheus, zookeeper string) []string {
		s := p.server(t, "--storage", "zk://"+zookeeper+"/lost")
		s.want(t, "PUT", "/secret/default/a", `{"value":"x"}`, 201)
		return s.fires(t, func() {
			check(t, dial(t, zookeeper).Delete("/lost/stores/default/root", -1))
		}, "SecretstoreDamaged")
	},
	"a record overwritten": func(t *testing.T, p *prometheus, zookeeper string) []string {
		s := p.server(t, "--storage", "zk://"+zookeeper+"/broken")
		s.want(t, "PUT", "/secret/default/f/a", `{"value":"x"}`, 201)
		return s.fires(t, func() {
			conn := dial(t, zookeeper)
			_, err := conn.Set(secretBelow(t, conn, "/broken/stores/default/secrets"), []byte("junk"), -1)
			check(t, err)
			s.want(t, "PUT", "/rotate/default", "", 200)
		}, "SecretstoreDamagedRecords", "SecretstoreRotationStuck")
	},
	"a change record of another user": func(t *testing.T, p *prometheus, zookeeper string) []string {
		s := p.server(t, "--storage", "zk://"+zookeeper+"/foreign")
		return s.fires(t, func() {
			_, err := dial(t, zookeeper).Create("/foreign/changes/"+strings.Repeat("0f", 16), []byte("x"), 0, zkc.DigestACL(zkc.PermAll, "other", "pw"))
			check(t, err)
		}, "SecretstoreFeedIncomplete")
	},
	"audit log unwritable": func(t *testing.T, p *prometheus, _ string) []string {
		audit := filepath.Join(t.TempDir(), "audit.log")
		s := p.bolt(t, "--audit-log", audit)
		s.want(t, "GET", "/store", "", 200)
		return s.fires(t, func() {
			check(t, errors.Join(os.Rename(audit, audit+".1"), os.Mkdir(audit, 0o700)))
			within(t, "a refusal", func() bool { return s.try("GET", "/store", "") == 503 })
		}, "SecretstoreAuditFailing")
	},
	"disk of the audit log full": func(t *testing.T, p *prometheus, _ string) []string {
		disk := t.TempDir()
		s := p.onSmallDisk(t, disk, "--storage", "memory:", "--audit-log", disk+"/audit.log")
		return s.fires(t, func() {
			s.fill(t, disk)
			s.keepDoing(t, 1, func(int) { s.try("GET", "/store", "") })
		}, "SecretstoreAuditDiskFull")
	},
	"log not read": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.bolt(t, "--log-level", "debug")
		return s.fires(t, func() {
			s.deaf.Store(true)
			s.keepDoing(t, 4, func(int) { s.try("GET", "/store", "") })
		}, "SecretstoreLogLinesLost")
	},
	"certificate near its end": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.withCertificate(t, 90)
		return s.fires(t, func() { certificate(t, s.dir, 20) }, "SecretstoreCertificateExpires")
	},
	"certificate at its end": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.withCertificate(t, 90)
		return s.fires(t, func() { certificate(t, s.dir, 5) }, "SecretstoreCertificateExpiresSoon", "SecretstoreCertificateExpires")
	},
	"PGP key near its end": func(t *testing.T, p *prometheus, _ string) []string {
		h := newPeople(t)
		h.gpg(t, nil, "--passphrase", "", "--quick-gen-key", "erin@example.com", "future-default", "default", "20d")
		public := base64.StdEncoding.EncodeToString(h.gpg(t, nil, "--export", "erin@example.com"))
		s := p.server(t, "--storage", "memory:", "--bootstrap=false")
		return s.fires(t, func() {
			s.want(t, "PUT", "/init/default", `{"shares":1,"threshold":1,"pgp_keys":["`+public+`"]}`, 200)
		}, "SecretstoreHolderKeyExpires")
	},
	"many bad tokens": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.bolt(t)
		return s.fires(t, func() {
			s.keepDoing(t, 2, func(int) { s.try("GET", "/store", "", "Authorization", "token=x.y.z") })
		}, "SecretstoreManyDenied")
	},
	"broken policy file": func(t *testing.T, p *prometheus, _ string) []string {
		policy := filepath.Join(t.TempDir(), "policy.yaml")
		check(t, os.WriteFile(policy, []byte("users: {}"), 0o600))
		s := p.bolt(t, "--policy-file", policy)
		return s.fires(t, func() { check(t, os.WriteFile(policy, []byte("users: ["), 0o600)) }, "SecretstoreConfigurationBroken")
	},
	"too many connections": func(t *testing.T, p *prometheus, _ string) []string {
		s := p.newServer(t, "--storage", "memory:", "--bootstrap=false")
		s.prepare = "ulimit -n 96"
		s.start(t)
		return s.fires(t, func() {
			for range 100 {
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
			}
		}, "SecretstoreConnectionsDropped")
	},
}

// prometheus is a running Prometheus.
type prometheus struct {
	url     string
	targets string   // folder with the files that name what it scrapes
	alerts  []string // of the rules
}

func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	dir := t.TempDir()
	addr := freeAddress(t)
	p := &prometheus{url: "http://" + addr, targets: filepath.Join(dir, "targets")}
	rules, err := os.ReadFile("../../deploy/prometheus/secretstore.rules.yml")
	check(t, err)
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllSubmatch(rules, -1) {
		p.alerts = append(p.alerts, string(m[1]))
	}
	soon := regexp.MustCompile(`(?m)^( +for: ).*$`).ReplaceAll(rules, []byte("${1}10s"))
	check(t, errors.Join(os.Mkdir(p.targets, 0o755),
		os.WriteFile(filepath.Join(dir, "rules.yml"), soon, 0o600),
		os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: secretstore
    file_sd_configs: [{files: ["targets/*.json"], refresh_interval: 1s}]
`), 0o600)))
	cmd := exec.Command("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+addr, "--log.level=warn")
	var log bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: it is in the Debian package prometheus; see scripts/test-deps", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus: %s", &log)
		}
	})
	within(t, "Prometheus answers", func() bool {
		res, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
	return p
}

// query returns the present values of a query, with their labels.
func (p *prometheus) query(t *testing.T, q string) []string {
	t.Helper()
	return p.ask(t, "query?query="+url.QueryEscape(q))
}

// ask returns the results of a call of Prometheus' API.
func (p *prometheus) ask(t *testing.T, call string) (values []string) {
	t.Helper()
	res, err := http.Get(p.url + "/api/v1/" + call)
	check(t, err)
	defer res.Body.Close()
	var doc struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || doc.Status != "success" {
		t.Fatalf("%s: %v %s", call, err, doc.Error)
	}
	for _, r := range doc.Data.Result {
		values = append(values, fmt.Sprint(r.Metric, r.Value[1]))
	}
	slices.Sort(values)
	return values
}

// scraped is a server that Prometheus scrapes.
type scraped struct {
	prometheus *prometheus
	dir, addr  string
	args       []string
	prepare    string // a shell script that runs before the program
	server     *child
	commands   io.Writer   // of a server on a small disk: takes lines of shell
	deaf       atomic.Bool // nobody reads the log
	token      string
}

func (p *prometheus) newServer(t *testing.T, args ...string) *scraped {
	t.Helper()
	s := &scraped{prometheus: p, dir: t.TempDir(), addr: freeAddress(t)}
	check(t, errors.Join(os.WriteFile(filepath.Join(s.dir, "key"), []byte(fixture.Key), 0o600), sign("root", filepath.Join(s.dir, "token"))))
	token, err := os.ReadFile(filepath.Join(s.dir, "token"))
	check(t, err)
	s.token = strings.TrimSpace(string(token))
	s.args = append([]string{"server", "--auth-secret-file", filepath.Join(s.dir, "key"), "--superuser", "root", "--listen", s.addr}, args...)
	return s
}

// server starts a server, and waits until it is unsealed if it bootstraps.
func (p *prometheus) server(t *testing.T, args ...string) *scraped {
	t.Helper()
	s := p.newServer(t, args...)
	s.start(t)
	return s
}

// bolt starts a server on a bootstrapped file.
func (p *prometheus) bolt(t *testing.T, args ...string) *scraped {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.db")
	check(t, fixture.Bootstrapped(file))
	return p.server(t, append(args, "--storage", "bolt:"+file)...)
}

// withCertificate starts a server with a certificate for so many days.
func (p *prometheus) withCertificate(t *testing.T, days int) *scraped {
	t.Helper()
	s := p.newServer(t, "--storage", "memory:")
	certificate(t, s.dir, days)
	s.args = append(s.args, "--tls-listen", "127.0.0.1:0", "--tls-cert-file", s.dir+"/cert.pem", "--tls-key-file", s.dir+"/key.pem")
	s.start(t)
	return s
}

// onSmallDisk starts a server in a process that has a disk of 4 MiB on the folder.
// The shell that has mounted it stays, and ends the server at its end of input.
func (p *prometheus) onSmallDisk(t *testing.T, folder string, args ...string) *scraped {
	t.Helper()
	s := p.newServer(t, args...)
	s.prepare = "mount -t tmpfs -o size=4m none " + folder + " || exit 1"
	r, w, err := os.Pipe()
	check(t, err)
	s.commands = w
	s.run(t, `"$0" "$@" & while read -r line; do eval "$line"; done; kill $!; wait`, r)
	return s
}

// fill fills the small disk.
func (s *scraped) fill(t *testing.T, folder string) {
	t.Helper()
	_, err := fmt.Fprintf(s.commands, "cat /dev/zero > %s/ballast\n", folder)
	check(t, err)
}

func (s *scraped) start(t *testing.T) {
	t.Helper()
	s.run(t, `exec "$0" "$@"`, nil)
}

// run runs the server from a shell script, and waits until it is ready. With
// input, its end ends the server.
func (s *scraped) run(t *testing.T, script string, input *os.File) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", s.prepare + "\n" + script, "secretstore"}, s.args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if input != nil {
		cmd.Stdin = input
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
	}
	r, w, err := os.Pipe()
	check(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	check(t, cmd.Start())
	w.Close()
	var log bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for !s.deaf.Load() {
			n, err := r.Read(buf)
			log.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	c := &child{cmd: cmd, ended: make(chan struct{})}
	s.server = c
	go func() {
		cmd.Wait() // killed, mostly
		close(c.ended)
	}()
	t.Cleanup(func() {
		if input != nil {
			s.commands.(io.Closer).Close()
			<-c.ended
		}
		c.kill()
		<-read
		r.Close()
		if t.Failed() {
			t.Logf("the log of %s: %s", s.addr, log.Bytes()[max(0, log.Len()-4096):])
		}
	})
	ready := "/ready"
	if slices.Contains(s.args, "--bootstrap=false") {
		ready = "/live"
	}
	within(t, "the server is ready", func() bool { return s.try("GET", "/../.."+ready, "") == 200 })
}

func (s *scraped) kill() { s.server.kill() }

// try sends a request and returns the status, or 0 without an answer.
func (s *scraped) try(method, path, body string, header ...string) int {
	base := "http://" + s.addr + "/secrets/v1"
	if rest, ok := strings.CutPrefix(path, "/../.."); ok {
		base, path = "http://"+s.addr, rest
	}
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "token="+s.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// want repeats a request until it has the status: the store may not be ready yet.
func (s *scraped) want(t *testing.T, method, path, body string, status int) {
	t.Helper()
	within(t, fmt.Sprintf("%s %s is %d", method, path, status), func() bool { return s.try(method, path, body) == status })
}

// keepDoing has so many goroutines repeat something until the test ends. Each call
// has its own number.
func (s *scraped) keepDoing(t *testing.T, goroutines int, something func(n int)) {
	var doing sync.WaitGroup
	var n atomic.Int64
	for range goroutines {
		doing.Go(func() {
			for t.Context().Err() == nil {
				something(int(n.Add(1)))
			}
		})
	}
	t.Cleanup(doing.Wait)
}

// fires makes a fault once the alerts are known not to fire, and waits for them.
func (s *scraped) fires(t *testing.T, fault func(), alerts ...string) []string {
	t.Helper()
	s.scrape(t)
	for _, alert := range alerts {
		if got := s.prometheus.query(t, fmt.Sprintf(`ALERTS{alertname=%q,instance=%q,alertstate="firing"}`, alert, s.addr)); len(got) > 0 {
			t.Errorf("%s fires without a fault: %v", alert, got)
		}
	}
	fault()
	for _, alert := range alerts {
		within(t, alert, func() bool {
			return len(s.prometheus.query(t, fmt.Sprintf(`ALERTS{alertname=%q,instance=%q,alertstate="firing"}`, alert, s.addr))) > 0
		})
	}
	return alerts
}

// scrape has Prometheus scrape the server, and waits until it has evaluated the
// rules with its samples.
func (s *scraped) scrape(t *testing.T) {
	t.Helper()
	content := fmt.Sprintf(`[{"targets": [%q]}]`, s.addr)
	file := filepath.Join(s.prometheus.targets, strings.ReplaceAll(s.addr, ":", "-"))
	check(t, errors.Join(os.WriteFile(file+".new", []byte(content), 0o600), os.Rename(file+".new", file+".json")))
	within(t, "samples", func() bool {
		return len(s.prometheus.query(t, fmt.Sprintf(`sum_over_time(up{instance=%q}[1m]) >= 3`, s.addr))) > 0
	})
}

// certificate writes cert.pem and key.pem, for so many days.
func certificate(t *testing.T, dir string, days int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(days)), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, days), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	check(t, errors.Join(
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)))
}

// dial returns a connection to a ZooKeeper.
func dial(t *testing.T, addr string) *zkc.Conn {
	t.Helper()
	conn, events, err := zkc.Connect([]string{addr}, 30*time.Second, zkc.WithLogInfo(false))
	check(t, err)
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	return conn
}

// secretBelow returns the znode of a secret: bucket, folder, name.
func secretBelow(t *testing.T, conn *zkc.Conn, path string) string {
	t.Helper()
	for range 3 {
		names, _, err := conn.Children(path)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", path, names, err)
		}
		path += "/" + names[0]
	}
	return path
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(alertPatience); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", alertPatience, what)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
