package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"secretstore/iam"
	"secretstore/scripts/bench/stock"
)

// backupCase restores a backup into an empty storage, makes one while clients read
// and write, and reads all of it in a drill. Run it for example with -secrets 1000000
// -folders 1000.
func backupCase(ctx context.Context, o options, dir, storage string) error {
	s, err := restored(ctx, o, dir, storage, nil, true)
	if err != nil {
		return err
	}
	defer s.stop()
	// What clients read has to be in memory before it is measured.
	if err := fillWith(ctx, min(o.secrets, warmSecrets), readOf(o, s)); err != nil {
		return err
	}
	if err := s.clients(ctx, o, "before", func() bool { return false }); err != nil {
		return err
	}
	idle := s.memory()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil { // the peak begins anew
		return err
	}
	file := filepath.Join(dir, "bench.backup")
	made := make(chan error, 1)
	cpu := s.cpu()
	go func() {
		made <- s.command(ctx, o, "backup", "-o", file, "--with-bootstrap-key", "--pause")
	}()
	err = s.clients(ctx, o, "during", func() bool { return len(made) == 0 })
	if err = errors.Join(err, <-made); err != nil {
		return err
	}
	fmt.Printf("the server: %d MiB before, %d at most during, %v of CPU\n", idle, s.peak(), (s.cpu() - cpu).Round(time.Millisecond))
	if err := s.clients(ctx, o, "after", func() bool { return false }); err != nil {
		return err
	}
	return s.command(ctx, o, "backup", "drill", file)
}

// restored makes a store of o.secrets and entries of the IAM, restores it into storage,
// and starts a server there.
func restored(ctx context.Context, o options, dir, storage string, entries []iam.Entry, audited bool, flags ...string) (*server, error) {
	file := filepath.Join(dir, "stock.backup")
	defer os.Remove(file)
	began := time.Now()
	err := stock.Write(ctx, file, boltFile(dir)+".bootstrap.key", stock.Secrets{Count: o.secrets, Size: o.size, Name: func(n uint64) string { return name(o, n) }}, entries)
	if err != nil {
		return nil, err
	}
	fmt.Printf("made a store with %d secrets in %v\n", o.secrets, time.Since(began).Round(time.Millisecond))
	none := &server{}
	if err := none.command(ctx, o, "restore", file, "--storage", storage); err != nil {
		return nil, err
	}
	s, err := startServer(o, dir, storage, audited, flags...)
	if err != nil {
		return nil, err
	}
	if err := waitFor(ctx, s.url+"/live"); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, s.errs.String())
	}
	if s.admin, err = signToken(o, dir, "operator"); err == nil {
		err = s.unseal(ctx)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, waitFor(ctx, s.url+"/ready")
}

// unseal has the server unseal with the bootstrap key.
func (s *server) unseal(ctx context.Context) error {
	_, err := s.call(ctx, http.MethodPut, s.url+"/secrets/v1/auto-unseal/default", http.StatusOK)
	return err
}

// command runs the program at the server, and prints how long it took, how many records
// a second that is, and the most memory that it had.
func (s *server) command(ctx context.Context, o options, args ...string) error {
	cmd := exec.CommandContext(ctx, o.binary, args...)
	cmd.Env = append(os.Environ(), "SECRETSTORE_SERVER="+s.url, "SECRETSTORE_TOKEN="+s.admin)
	var out bytes.Buffer
	cmd.Stdout = &out
	began := time.Now()
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// What the kernel reports at the end includes the memory of this process.
	peak := int64(0)
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(10 * time.Millisecond):
			peak = max(peak, p.peak())
		}
	}
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, p.errs.String())
	}
	fmt.Printf("%s: %v, %.0f secrets a second, %d MiB at most\n  %s\n", strings.Join(args[:min(2, len(args))], " "), took.Round(time.Millisecond),
		float64(o.secrets)/took.Seconds(), peak, bytes.TrimSpace(out.Bytes()))
	return nil
}

const (
	// warmSecrets is how many secrets the clients of a backup use.
	warmSecrets = 10_000
	// Each of the clients pauses after each request, so that they do not use up the
	// machine: what else happens on it would then be all that they notice.
	readers, writers = 16, 4
	pauseOfClients   = 10 * time.Millisecond
)

// clients prints what clients notice: for o.runs times o.duration, and as long as more
// says.
func (s *server) clients(ctx context.Context, o options, when string, more func() bool) error {
	o.secrets = min(o.secrets, warmSecrets)
	read, update := readOf(o, s), updateOf(o, s)
	read.pause, update.pause = pauseOfClients, pauseOfClients
	var reads, writes []figure
	for len(reads) < o.runs || more() {
		var r, w figure
		var failed error
		var both sync.WaitGroup
		both.Go(func() { w, failed = load(ctx, writers, o.duration, update) })
		r, err := load(ctx, readers, o.duration, read)
		both.Wait()
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		reads, writes = append(reads, r), append(writes, w)
	}
	for what, all := range map[string][]figure{"reads": reads, "writes": writes} {
		f := median(all)
		fmt.Printf("%s %s: %.0f a second, p50 %v, p99 %v, worst p99 %v of %d\n", what, when, f.perSecond, f.p50.Round(10*time.Microsecond),
			f.p99.Round(10*time.Microsecond), worst(all).Round(10*time.Microsecond), len(all))
	}
	return nil
}

func worst(all []figure) (p99 time.Duration) {
	for _, f := range all {
		p99 = max(p99, f.p99)
	}
	return p99
}
