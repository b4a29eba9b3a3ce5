// Package webtest runs servers, and visits their pages with Chromium. Only tests may
// import it.
package webtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"secretstore/acl/token"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/cmd/secretstore/internal/server"
	"secretstore/internal/zktest"
	"secretstore/seal/sealtest"
)

// Site is a running server with pages.
type Site struct {
	// URL is the address of the server, without a slash at the end.
	URL string
	// URLs are those of all its addresses.
	URLs []string
	// Dir is the folder of its files: s.db, key, superusers.
	Dir string
	// Stop ends the server, and waits for that.
	Stop func()
}

// The superuser of the file superusers, who signs in with a password. The user root
// is a superuser, too, for whom tokens are made.
const (
	Admin    = "admin"
	Password = "correct horse <battery> & \"staple\""

	// rounds of passwords: their cost does not matter here.
	rounds       = 1000
	passwordHash = "$6$rounds=1000$nEh8/05XtcKTPMgQ$8S6LFm5mdf.YNiImsnyMHXkpCshtwIeTuSX6klbIMNS8qgJ3Ey9V5hywPWeLyLR50.ZRdeGXNKYLV//UiuIwU1"
)

// Start runs a server on a new store until the test ends, in a bbolt file, or in
// ZooKeeper if $WEBTEST_STORAGE is "zookeeper". It listens on a free port of the
// loopback, and has the superusers root and [Admin], unless args say otherwise. It is
// unsealed, unless args have --bootstrap=false.
func Start(t testing.TB, args ...string) *Site {
	t.Helper()
	dir := t.TempDir()
	if os.Getenv("WEBTEST_STORAGE") == "zookeeper" {
		root := fmt.Sprintf("zk://%s/site%d", zktest.Shared(t), sites.Add(1))
		return StartIn(t, dir, append([]string{"--storage", root}, args...)...)
	}
	if !slices.Contains(args, "--bootstrap=false") {
		if err := fixture.Bootstrapped(filepath.Join(dir, "s.db")); err != nil {
			t.Fatal(err)
		}
	}
	return StartIn(t, dir, args...)
}

// sites counts the roots in ZooKeeper.
var sites atomic.Int32

// StartIn is Start in a folder that has a store already.
func StartIn(t testing.TB, dir string, args ...string) *Site {
	t.Helper()
	args = append([]string{
		"--listen", "127.0.0.1:0", "--storage", "bolt:" + filepath.Join(dir, "s.db"), "--superuser", "root",
		"--auth-secret-file", write(t, dir, "key", fixture.Key+"\n"),
	}, args...)
	if !strings.Contains(strings.Join(args, " "), "--iam") {
		args = append(args, "--iam", config.IAMBuiltin, "--superuser-password-file", write(t, dir, "superusers", Admin+":"+passwordHash+"\n"))
	}
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags := config.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Load(flags, func(string) string { return "" })
	r, w := io.Pipe()
	s, err := server.New(t.Context(), cfg, problems, server.Outside{Stdout: io.Discard, Stderr: w, TestOnlyPasswordRounds: rounds, TestOnlyGenerateKey: sealtest.GenerateKey})
	if err != nil {
		t.Fatal(err)
	}
	site := &Site{Dir: dir}
	ctx, stop := context.WithCancel(context.Background())
	ended, addresses := make(chan struct{}), make(chan string, 2)
	go func() {
		defer close(ended)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		w.Close()
	}()
	go func() {
		defer close(addresses)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			var line struct{ Msg, URL string }
			if json.Unmarshal(sc.Bytes(), &line) == nil && line.Msg == "listening" {
				addresses <- line.URL
			}
			if strings.Contains(sc.Text(), `"level":"error"`) {
				t.Log(sc.Text())
			}
		}
	}()
	site.Stop = func() { stop(); <-ended }
	t.Cleanup(site.Stop)
	for range min(len(cfg.Listen), 1) + min(len(cfg.TLSListen), 1) {
		address, ok := <-addresses
		if !ok {
			t.Fatal("the server ended before it listened")
		}
		site.URLs = append(site.URLs, address)
	}
	site.URL = site.URLs[0]
	if !slices.Contains(args, "--bootstrap=false") {
		awaitReady(t, site.As(t, "root"))
	}
	return site
}

// awaitReady waits until a server is unsealed, and has loaded its users and grants.
func awaitReady(t testing.TB, root *client.Client) {
	t.Helper()
	if _, err := client.Retry(t.Context(), client.Retries{Again: func(error) bool { return true }, MaxPause: 1e8}, func(ctx context.Context) (struct{}, error) {
		err := root.Ready(ctx)
		if err == nil {
			_, err = root.List(ctx, "")
		}
		return struct{}{}, err
	}); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Token returns a token for a user.
func (s *Site) Token(t testing.TB, uid string) string {
	t.Helper()
	raw, err := token.Sign(uid, time.Now().Add(time.Hour), "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// As returns a client of the API for a user.
func (s *Site) As(t testing.TB, uid string) *client.Client {
	t.Helper()
	raw := s.Token(t, uid)
	c, err := client.New(client.Config{Server: s.URL, Token: func(context.Context) (string, error) { return raw, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
