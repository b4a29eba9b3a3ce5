// Command bench measures requests a second through HTTP, and prints each beside
// a reference that was measured in the same minute: machines are noisy, but
// ratios are comparable. The references are a bare net/http server that answers
// the same bytes, and the ZooKeeper client alone doing the same operation.
//
// Tokens, permissions and the audit log are on. Server, storage and load share
// the machine.
//
// It is long because each case that runs only when it is named is a small
// program, in a file with its name.
//
//	go run ./scripts/bench [-binary ./secretstore] [-duration 2s] [-runs 3] [-storage bolt,zk]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	binary   string
	duration time.Duration
	runs     int
	storages []string
	secrets  int
	size     int
	conns    []int
	folders  int          // they are spread over so many; 0 is one
	only     string       // name of the one case to run; "" is all
	tasks    int          // of the case herd
	certs    *certificate // for the cases with TLS; else nil
}

const caseHelp = `the one case to run, such as read, update or "list of all". These run only when they are named:
herd       many tasks at once, each with a one-use task token and a definition with 5 secrets; over HTTP and TLS, 64 and 500 connections
tls        cached reads over TLS, with kept and with new connections
failover   one of three servers is killed under load (-storage zk)
servers    three servers against one (-storage zk -conns 64)
rotate     clients during a rotation
footprint  start, memory and lists
values     values of 1 MiB
backup     a restore, a backup under load, and a drill
iam        10,000 users, 1,000 groups and 100,000 grants: loading, sign-ins, policyquery, decisions, reads`

func main() {
	var o options
	var storages string
	hello := flag.String("hello", "", "serve the bare reference on this address (used by the bench itself)")
	var helloCerts certificate
	flag.StringVar(&helloCerts.certFile, "hello-cert", "", "certificate of the bare reference (used by the bench itself)")
	flag.StringVar(&helloCerts.keyFile, "hello-key", "", "its key (used by the bench itself)")
	flag.StringVar(&o.binary, "binary", "./secretstore", "the server to measure")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "time for each figure of each run")
	flag.IntVar(&o.runs, "runs", 3, "runs; the median is printed")
	flag.StringVar(&storages, "storage", "bolt,zk", "storages to measure, comma-separated")
	flag.IntVar(&o.secrets, "secrets", 10000, "secrets stored before the reads")
	flag.IntVar(&o.folders, "folders", 0, "folders that the secrets are spread over; 0 is one")
	flag.StringVar(&o.only, "case", "", caseHelp)
	flag.IntVar(&o.tasks, "tasks", 5000, "tasks that start at once in the case herd")
	conns := flag.String("conns", "1,16,64", "connections, comma-separated")
	flag.IntVar(&o.size, "size", 256, "bytes of a value")
	flag.Parse()
	o.storages = strings.Split(storages, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.conns, err = numbers(*conns); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -conns:", err)
		os.Exit(2)
	}
	if *hello != "" {
		certs := &helloCerts
		if certs.certFile == "" {
			certs = nil
		}
		err = serveHello(ctx, *hello, o.size, certs)
	} else {
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func numbers(list string) (out []int, err error) {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of connections", s)
		}
		out = append(out, n)
	}
	return out, nil
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "secretstore-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.only == "herd" || o.only == "tls" {
		if o.certs, err = makeCertificate(dir); err != nil {
			return err
		}
	}
	helloURL, stopHello, err := startHello(ctx, o.size, nil)
	if err != nil {
		return err
	}
	defer stopHello()
	fmt.Printf("%d secrets of %d bytes, %s a figure, median of %d; audit, HS256 tokens and a policy on\n\n", o.secrets, o.size, o.duration, o.runs)
	for _, storage := range o.storages {
		if err := benchStorage(ctx, o, storage, dir, helloURL); err != nil {
			return fmt.Errorf("%s: %w", storage, err)
		}
	}
	return nil
}
