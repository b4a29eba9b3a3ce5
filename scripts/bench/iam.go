package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/valyala/fasthttp"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/iam/password"
	"secretstore/scripts/bench/stock"
)

const iamBase = "/acs/api/v1"

// rightPassword is that of every user.
const rightPassword = "correct horse"

// service and remote return uids of accounts that have no password.
func service(n int) iam.UID { return iam.UID(fmt.Sprintf("service%d", n)) }
func remote(n int) iam.UID  { return iam.UID(fmt.Sprintf("remote%d", n)) }

// failures is how many sign-ins of each kind fail, each of another account.
const failures = 40

// iamCase measures a server with an IAM of 10,000 users, 1,000 groups and 100,000
// grants: how long it loads after an unseal, decisions, policyquery, sign-ins that
// succeed and that fail, and reads with its tokens.
func iamCase(ctx context.Context, o options, dir, storage, helloURL string) error {
	entries, err := people()
	if err != nil {
		return err
	}
	decisions(entries)
	s, err := restored(ctx, o, dir, storage, entries, true, "--iam", "builtin")
	if err != nil {
		return err
	}
	defer s.stop()
	if err := loadings(ctx, o, s); err != nil {
		return err
	}
	if err := signIns(ctx, s); err != nil {
		return err
	}
	if s.token, err = s.signIn(ctx, string(stock.UID(0))); err != nil {
		return err
	}
	query := url.Values{"rid": {"dcos:secrets:default:/team7/app3/x"}, "uid": {string(stock.UID(3))}, "action": {"read"}}
	ask := request{method: "GET", want: 200, token: s.admin, next: func(uint64) (string, []byte) {
		return s.url + iamBase + "/internal/policyquery?" + query.Encode(), nil
	}}
	hello := cases(o, s, helloURL, nil)[0] // the first is that of reads
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	fmt.Fprintf(out, "\tconns\treq/s\tp50\tp99\tserver CPU\tZooKeeper CPU\tpackets\ttransactions\treference\tp50\tratio\tof p50\t\n")
	if err := fillWith(ctx, o.secrets, readOf(o, s)); err != nil {
		return err
	}
	return measureAll(ctx, options{duration: o.duration, runs: o.runs, conns: o.conns}, []benchCase{
		{"read, token of the IAM", readOf(o, s), "hello", hello.ref}, {"policyquery", ask, "hello", hello.ref},
	}, s, nil, out)
}

// people returns the accounts, one of which may read what is read.
func people() ([]iam.Entry, error) {
	entries := stock.People(password.New([]byte(rightPassword)).String())
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for n := range failures {
		entries = append(entries,
			&iam.User{UID: service(n), Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{1}, Keys: []iam.Key{{ID: "k", PEM: public}}},
			&iam.User{UID: remote(n), Provider: iam.Provider{Type: iam.OIDC, ID: "elsewhere", Issuer: "https://elsewhere.example", Subject: fmt.Sprint(n)}, Generation: iam.Generation{1}})
	}
	rid, err := iam.ParseRID("dcos:secrets:default:/bench/*")
	if err != nil {
		return nil, err
	}
	all := &iam.ACL{RID: rid, Name: rid.String(), Generation: iam.Generation{1}}
	first := slices.IndexFunc(entries, func(e iam.Entry) bool { u, ok := e.(*iam.User); return ok && u.UID == stock.UID(0) })
	reader := entries[first].(*iam.User)
	reader.Grants = append(reader.Grants, iam.Grant{RID: rid, ACL: all.Generation, Action: acl.Full})
	return append([]iam.Entry{all}, entries...), nil
}

// decisions measures decisions in this process: for a user in ten groups of 50 grants,
// and for one who has all of 100,000 grants, through 50 groups whose grants are below a
// folder each, or anywhere.
func decisions(entries []iam.Entry) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all := (*acl.Policy)(nil).WithGrants((&iam.Directory{}).With(entries))
	measure := func(what string, p *acl.Policy, uid iam.UID, paths ...string) {
		for _, path := range paths {
			escaped, err := acl.ParsePath(path)
			if err != nil {
				panic(err) // unreachable
			}
			const times = 20_000
			var allowed bool
			var turns []float64
			for range 9 {
				began := cpuOfThread()
				for range times {
					allowed = p.Decide(acl.Principal{UID: string(uid)}, acl.Request{Op: acl.ReadSecret, Path: escaped}).Allowed
				}
				turns = append(turns, float64((cpuOfThread()-began).Nanoseconds())/times)
			}
			fmt.Printf("decision, %s, allowed %v: %.0f ns of CPU\n", what, allowed, middle(turns))
		}
	}
	measure("100,000 grants, user in 10 groups", all, stock.UID(77), "team86/app49/x", "team86/none")
	for what, pattern := range map[string]string{"in 50 groups, each below a folder": "dcos:secrets:default:/g%d/app%d%s", "in 50 groups, grants anywhere": "dcos:secrets:default:/s%[2]d/g%[1]d%[3]s"} {
		var entries []iam.Entry
		u := &iam.User{UID: "one", Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{1}}
		for g := range 50 {
			group := &iam.Group{GID: iam.GID(fmt.Sprintf("g%d", g)), Generation: iam.Generation{1}}
			for i := range 2000 {
				rid, err := iam.ParseRID(fmt.Sprintf(pattern, g, i, []string{"", "/*"}[i%2]))
				if err != nil {
					panic(err) // unreachable
				}
				a := &iam.ACL{RID: rid, Generation: iam.Generation{1}}
				entries = append(entries, a)
				group.Grants = append(group.Grants, iam.Grant{RID: rid, ACL: a.Generation, Action: acl.Read})
			}
			entries = append(entries, group)
			u.Groups = append(u.Groups, iam.Membership{GID: group.GID, Group: group.Generation})
		}
		p := (*acl.Policy)(nil).WithGrants((&iam.Directory{}).With(append(entries, u)))
		measure("user with 100,000 grants "+what, p, u.UID, "g49/app1999/x", "s1999/g49/x", "none/at/all")
	}
}

// cpuOfThread returns the CPU time of this thread so far, which other processes do not
// prolong much.
func cpuOfThread() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	_ = syscall.Getrusage(thread, &u) // it cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loadings measures how long after an unseal the IAM answers.
func loadings(ctx context.Context, o options, s *server) error {
	if err := s.loaded(ctx); err != nil {
		return err
	}
	var all []time.Duration
	cpu := s.cpu()
	for range o.runs {
		if _, err := s.call(ctx, http.MethodPut, s.url+"/secrets/v1/seal/default", http.StatusOK, http.StatusNoContent); err != nil {
			return err
		}
		began := time.Now()
		if err := s.unseal(ctx); err != nil {
			return err
		}
		if err := s.loaded(ctx); err != nil {
			return err
		}
		all = append(all, time.Since(began).Round(time.Millisecond))
	}
	slices.Sort(all)
	fmt.Printf("10,000 users, 1,000 groups and 100,000 grants: loaded %v after the unseal began (%v to %v), with %v of CPU each; %d MiB\n",
		all[len(all)/2], all[0], all[len(all)-1], ((s.cpu() - cpu) / time.Duration(o.runs)).Round(time.Millisecond), s.memory())
	return nil
}

// loaded waits until the IAM answers.
func (s *server) loaded(ctx context.Context) error {
	for {
		status, err := s.call(ctx, http.MethodGet, s.url+iamBase+"/users/"+string(stock.UID(stock.Users-1)), http.StatusOK, http.StatusServiceUnavailable)
		if err != nil || status == http.StatusOK {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// call makes one request of the superuser, which one of the statuses must answer.
func (s *server) call(ctx context.Context, method, url string, statuses ...int) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "token="+s.admin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // it only says more
	if !slices.Contains(statuses, resp.StatusCode) {
		return 0, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return resp.StatusCode, nil
}

// signIns prints the medians of sign-ins that succeed, and of those that fail, for each
// reason, in turns: nobody can tell the reasons from the times.
func signIns(ctx context.Context, s *server) error {
	kinds := []struct {
		what, password string
		uid            func(n int) iam.UID
		want           int
		took           []time.Duration
	}{
		{"succeeds", rightPassword, stock.UID, 200, nil},
		{"wrong password", "wrong", stock.UID, 401, nil},
		{"unknown uid", "wrong", func(n int) iam.UID { return iam.UID(fmt.Sprintf("unknown%d", n)) }, 401, nil},
		{"service account", "wrong", service, 401, nil},
		{"account of a provider", "wrong", remote, 401, nil},
	}
	for n := range failures {
		// An address of loopback for each few: many failures of one are held up.
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n/10))}}
		client := &fasthttp.Client{Dial: func(addr string) (net.Conn, error) { return from.DialContext(ctx, "tcp", addr) }}
		for i := range kinds {
			k := &kinds[(i+n)%len(kinds)]
			took, _, err := exchange(client, signInOf(s, k.uid(n), k.password, k.want))
			if err != nil {
				return err
			}
			k.took = append(k.took, took)
		}
		client.CloseIdleConnections()
	}
	for _, k := range kinds {
		slices.Sort(k.took)
		fmt.Printf("sign-in, %s: median %v (quartiles %v, %v) of %d\n", k.what, k.took[failures/2].Round(10*time.Microsecond),
			k.took[failures/4].Round(10*time.Microsecond), k.took[failures*3/4].Round(10*time.Microsecond), failures)
	}
	return nil
}

func signInOf(s *server, uid iam.UID, password string, want int) request {
	body, err := json.Marshal(map[string]string{"uid": string(uid), "password": password})
	return request{method: "POST", want: want, next: func(uint64) (string, []byte) {
		if err != nil {
			panic(err) // unreachable
		}
		return s.url + iamBase + "/auth/login", body
	}}
}

// signIn returns the token of a sign-in.
func (s *server) signIn(_ context.Context, uid string) (string, error) {
	client := newClient(1, nil)
	defer client.CloseIdleConnections()
	_, answer, err := exchange(client, signInOf(s, iam.UID(uid), rightPassword, 200))
	if err != nil {
		return "", err
	}
	var got struct{ Token string }
	return got.Token, json.Unmarshal(answer, &got)
}
