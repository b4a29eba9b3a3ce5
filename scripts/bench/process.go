package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a child of the bench, stopped by its pid.
type process struct {
	cmd  *exec.Cmd
	errs bytes.Buffer
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Stderr = &p.errs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// cpu returns the CPU time that the process has used so far.
func (p *process) cpu() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// Fields 14 and 15, in ticks of 10 ms, counted after the name in brackets.
	var skip string
	var utime, stime int64
	rest := data[bytes.LastIndexByte(data, ')')+2:]
	if _, err := fmt.Sscan(string(rest), &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &utime, &stime); err != nil {
		return 0
	}
	return time.Duration(utime+stime) * 10 * time.Millisecond
}

// server is a running Secret Store.
type server struct {
	*process
	began    time.Time // when the process was started
	url      string
	tlsURL   string // "" without options.certs
	token    string
	rsaToken string // the same, signed with RS256 and a key of 4096 bits
	admin    string // token of a superuser; only after a restore
}

const policy = `users:
  bench: {"dcos:secrets:default:/bench/*": [full], "dcos:secrets:list:default:/bench": [read]}
  scheduler: {"dcos:secrets:resolve:default:/*": [read]}
`

// startServer runs the binary with everything on that costs time in use, and flags.
func startServer(o options, dir, storage string, audited bool, flags ...string) (*server, error) {
	secret, keys := filepath.Join(dir, "auth-secret"), filepath.Join(dir, "keys.json")
	rsaToken, keySet, err := signRSA()
	if err != nil {
		return nil, err
	}
	files := map[string]string{secret: "0123456789abcdef0123456789abcdef\n", filepath.Join(dir, "policy.yaml"): policy, keys: keySet}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	token, err := signToken(o, dir, "bench")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"server", "--listen", addr, "--storage", storage, "--auth-secret-file", secret, "--auth-jwks", keys,
		"--policy-file", filepath.Join(dir, "policy.yaml"), "--log-level", "error", "--superuser", "operator"}
	args = append(args, flags...)
	if audited {
		args = append(args, "--audit-log", filepath.Join(dir, "audit.log"))
	}
	tlsURL := ""
	if o.certs != nil {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		tlsURL = "https://" + addr
		args = append(args, "--tls-listen", addr, "--tls-cert-file", o.certs.certFile, "--tls-key-file", o.certs.keyFile)
	}
	began := time.Now()
	p, err := startProcess(exec.Command(o.binary, args...))
	if err != nil {
		return nil, err
	}
	return &server{process: p, began: began, url: "http://" + addr, tlsURL: tlsURL, token: token, rsaToken: rsaToken}, nil
}

// signToken has the program sign a token with the key in dir.
func signToken(o options, dir, uid string) (string, error) {
	token, err := exec.Command(o.binary, "token", "--uid", uid, "--secret-file", filepath.Join(dir, "auth-secret")).Output()
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return string(bytes.TrimSpace(token)), nil
}

// startReady is startServer, and waits until it serves.
func startReady(ctx context.Context, o options, dir, storage string, audited bool) (*server, error) {
	s, err := startServer(o, dir, storage, audited)
	if err != nil {
		return nil, err
	}
	if err := waitFor(ctx, s.url+"/ready"); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, s.errs.String())
	}
	return s, nil
}
