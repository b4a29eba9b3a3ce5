package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"secretstore/api/definition"
	"secretstore/cmd/secretstore/internal/fixture"
)

// deployed reads a file of deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnitIsSandboxed wants the exposure that systemd computes to be 1.5 or less,
// on its scale from 0 to 10.
func TestUnitIsSandboxed(t *testing.T) {
	t.Parallel()
	// With a threshold, in tenths, the exit status says whether it is exceeded.
	for _, unit := range []string{"secretstore.service", "secretstore-backup.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", "../../deploy/systemd/"+unit).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Overall exposure level") {
			t.Errorf("%v (scripts/test-deps installs systemd-analyze)\n%s", err, out)
		}
	}
}

// TestUnitsAreValid has systemd read the units, in a root folder where what they
// name is there.
func TestUnitsAreValid(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	units := filepath.Join(root, "etc/systemd/system")
	program := filepath.Join(root, "usr/local/bin/secretstore")
	kill := filepath.Join(root, "bin/kill")
	err := os.MkdirAll(units, 0o755)
	for _, file := range []string{program, kill} {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
	}
	args := []string{"verify", "--root=" + root, "--man=no", "--generators=no"}
	for _, name := range []string{"secretstore.service", "secretstore.socket", "secretstore-tls.socket", "secretstore-backup.service", "secretstore-backup.timer"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(units, name), []byte(deployed(t, "systemd/"+name)), 0o644))
		args = append(args, filepath.Join(units, name))
	}
	// Units of systemd itself, which the root folder lacks.
	for _, name := range []string{"basic.target", "sysinit.target", "shutdown.target", "sockets.target", "timers.target", "time-sync.target", "time-set.target", "multi-user.target", "network-online.target"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(units, name), []byte("[Unit]\nDescription=x\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTheBackupUnitKeepsItsPromises runs the command of the unit, with another folder,
// against a server.
func TestTheBackupUnitKeepsItsPromises(t *testing.T) {
	t.Parallel()
	service := deployed(t, "systemd/secretstore-backup.service")
	command := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/secretstore (.*)$`).FindStringSubmatch(service)
	if command == nil || !strings.Contains(command[1], " --pause ") || !strings.Contains(service, "\nType=oneshot\n") || !strings.Contains(deployed(t, "systemd/secretstore-backup.timer"), "\nPersistent=true\n") {
		t.Fatal("there is no command that may pause writes, or it is not a job of a timer")
	}
	folder := t.TempDir()
	args := strings.Fields(strings.ReplaceAll(command[1], "/var/lib/secretstore-backup", folder))
	var out, problems strings.Builder
	// Nobody listens there: the flags are right, and no file is left.
	status := Main(append(args, "--server", "http://127.0.0.1:1"), strings.NewReader(""), &out, &problems)
	left, err := os.ReadDir(folder)
	if status != 1 || err != nil || len(left) > 0 {
		t.Errorf("exit status %d, %v, %v\n%s", status, left, err, problems.String())
	}

	dir := t.TempDir()
	db, key, token := filepath.Join(dir, "s.db"), filepath.Join(dir, "key"), filepath.Join(dir, "token")
	if err := errors.Join(fixture.Bootstrapped(db), os.WriteFile(key, []byte(fixture.Key), 0o600), sign("root", token)); err != nil {
		t.Fatal(err)
	}
	l := listenTCP(t, "127.0.0.1:0")
	server := "http://" + l.Addr().String()
	u := startUnit(t, nil, listeners(l), []string{"http"}, "--listen", l.Addr().String(), "--storage", "bolt:"+db, "--auth-secret-file", key, "--superuser", "root")
	u.says(t, "READY=1")
	if status := Main(append(args, "--server", server, "--token-file", token), strings.NewReader(""), &out, &problems); status != 0 {
		t.Fatalf("exit status %d\n%s", status, problems.String())
	}
	if left, err = os.ReadDir(folder); err != nil || len(left) != 1 || !strings.Contains(out.String(), left[0].Name()+": 0 secret(s)") {
		t.Fatalf("%v, %v\n%s", left, err, out.String())
	}
	if status := Main([]string{"backup", "verify", folder}, strings.NewReader(""), &out, &problems); status != 0 {
		t.Errorf("exit status %d\n%s", status, problems.String())
	}
}

// TestUnitPassesOnlyWhatTheServerAccepts starts the real server with the flags, the
// sockets and the credentials of the units. What is below /etc is in a folder.
func TestUnitPassesOnlyWhatTheServerAccepts(t *testing.T) {
	t.Parallel()
	service := deployed(t, "systemd/secretstore.service")
	for _, line := range []string{"Type=notify", "WatchdogSec=2min", "TimerSlackNSec=2ms", "LoadCredential=secret:/etc/secretstore/credentials", "RestartPreventExitStatus=2", "LimitCORE=0"} {
		if !strings.Contains(service, "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
	command := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/secretstore (.*)$`).FindStringSubmatch(service)
	name := regexp.MustCompile(`(?m)^FileDescriptorName=(.*)$`).FindStringSubmatch(deployed(t, "systemd/secretstore.socket"))
	if command == nil || name == nil {
		t.Fatal("there is no command, or no socket")
	}
	// As systemd does it: of root, and readable by an ACL, which the mode shows.
	credentials := t.TempDir()
	key := filepath.Join(credentials, "secret_auth-secret")
	l := listenTCP(t, "127.0.0.1:0")
	conf := filepath.Join(t.TempDir(), "secretstore.yaml")
	if err := errors.Join(os.WriteFile(key, []byte(strings.Repeat("k", 48)), 0o440),
		os.WriteFile(conf, []byte("listen: "+l.Addr().String()+"\nstorage: 'memory:'\nauth-secret-file: "+key+"\nsuperuser: [root]\nbootstrap: false\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(strings.ReplaceAll(command[1], "/etc/secretstore/secretstore.yaml", conf))
	if args[0] != "server" {
		t.Fatalf("the unit runs %q", args)
	}
	u := startUnit(t, []string{"CREDENTIALS_DIRECTORY=" + credentials, "WATCHDOG_USEC=600000"}, listeners(l), []string{name[1]}, args[1:]...)
	u.says(t, "READY=1")
	u.says(t, "WATCHDOG=1")
	u.cmd.Process.Signal(os.Interrupt)
	if err := u.end(t); err != nil || strings.Contains(u.log.String(), "readable by") {
		t.Errorf("%v\n%s", err, u.log)
	}
}

// TestMarathonAppLeavesASealedServerAlone: the health check is /live, and the
// server accepts the arguments.
func TestMarathonAppLeavesASealedServerAlone(t *testing.T) {
	t.Parallel()
	var app struct {
		ID, User     string
		Instances    int
		Args         []string
		Container    map[string]any
		HealthChecks []struct{ Protocol, Path string }
	}
	if err := json.Unmarshal([]byte(deployed(t, "marathon/secretstore.json")), &app); err != nil {
		t.Fatal(err)
	}
	if _, _, err := definition.Parse([]byte(deployed(t, "marathon/secretstore.json"))); err != nil {
		t.Errorf("our own parser of definitions: %v", err)
	}
	if len(app.HealthChecks) != 1 || app.HealthChecks[0].Path != "/live" || app.HealthChecks[0].Protocol != "MESOS_HTTPS" || app.Instances != 3 || app.User == "root" {
		t.Errorf("%+v", app)
	}
	servesSealed(t, app.Args)
}

// TestComposeRunsThreeServersAndAZooKeeper reads the compose file, and starts a
// server with its configuration.
func TestComposeRunsThreeServersAndAZooKeeper(t *testing.T) {
	t.Parallel()
	type service struct {
		Image    string
		Volumes  []string
		Networks []string
		Ports    []string
		ReadOnly bool     `yaml:"read_only"`
		CapDrop  []string `yaml:"cap_drop"`
		Memory   string   `yaml:"mem_limit"`
		WithSwap string   `yaml:"memswap_limit"`
	}
	var compose struct{ Services map[string]service }
	if err := yaml.Unmarshal([]byte(deployed(t, "container/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	servers := 0
	for name, s := range compose.Services {
		if s.Image != "secretstore" {
			continue
		}
		servers++
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Memory != s.WithSwap || s.Memory == "" || len(s.Ports) != 1 || !strings.HasPrefix(s.Ports[0], "127.0.0.1:") {
			t.Errorf("%s: %+v", name, s)
		}
		for _, file := range regexp.MustCompile(`/etc/secretstore/[\w.-]+`).FindAllString(deployed(t, "container/secretstore.yaml"), -1) {
			if !slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+file+":ro") }) {
				t.Errorf("%s lacks %s", name, file)
			}
		}
	}
	if zookeeper := compose.Services["zookeeper"]; servers != 3 || len(compose.Services) != 4 || !slices.Equal(zookeeper.Networks, []string{"storage"}) || len(zookeeper.Ports) > 0 {
		t.Errorf("%d servers, %+v", servers, compose.Services)
	}
	servesSealed(t, imageCommand(t))
}

// imageCommand returns the arguments that the image runs the server with.
func imageCommand(t *testing.T) (args []string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^CMD (.*)$`).FindStringSubmatch(deployed(t, "container/Containerfile"))
	if m == nil {
		t.Fatal("the image has no command")
	}
	if err := json.Unmarshal([]byte(m[1]), &args); err != nil {
		t.Fatal(err)
	}
	return args
}

// etc makes what the servers of deploy find in /etc/secretstore, with the
// addresses of their HTTPS and of ZooKeeper, in a folder that they see as seen.
func etc(t *testing.T, dir, seen, address, zookeeper string) {
	t.Helper()
	conf := strings.NewReplacer("/etc/secretstore", seen, "0.0.0.0:1338", address, "zookeeper:2181", zookeeper).Replace(deployed(t, "container/secretstore.yaml"))
	write := func(name, text string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400) }
	if err := errors.Join(fixture.Certificate(filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")), write("secretstore.yaml", conf),
		write("zk-auth", "admin:secret\n"), write("auth-secret", fixture.Key), write("policy.yaml", "users: {}\n")); err != nil {
		t.Fatal(err)
	}
}

// servesSealed starts the server with arguments of deploy. ZooKeeper is not
// there, so it is sealed, and alive.
func servesSealed(t *testing.T, args []string) {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	etc(t, dir, dir, address, freeAddress(t))
	if args[0] != "server" {
		t.Fatalf("it runs %q", args)
	}
	args = slices.Clone(args[1:])
	for i := range args {
		args[i] = strings.NewReplacer("/etc/secretstore", dir, "0.0.0.0:1338", address).Replace(args[i])
	}
	u := startUnit(t, nil, nil, nil, args...)
	u.says(t, "READY=1")
	alive(t, address)
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := u.end(t); err != nil {
		t.Errorf("%v\n%s", err, u.log)
	}
}

func alive(t *testing.T, address string) {
	t.Helper()
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: patience}
	resp, err := insecure.Get("https://" + address + "/live")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Errorf("/live: %s", resp.Status)
	}
}
