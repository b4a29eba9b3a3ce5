package client_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api"
	"secretstore/api/client"
	"secretstore/api/internal/pipes"
	"secretstore/api/wire"
	"secretstore/internal/openapitest"
	"secretstore/seal"
	"secretstore/store/memory"
)

const signingKey = "0123456789abcdef0123456789abcdef"

// secretStore is a real server, which can be taken away.
type secretStore struct {
	url   string
	dial  func() (net.Conn, error)
	store *seal.Store
	away  atomic.Bool
	gone  atomic.Bool // something else answers in its place
	// policy is in force; superusers have everything.
	policy atomic.Pointer[acl.Policy]
	close  func()
	// seen has all exchanges.
	seen *openapitest.Listener

	unsealKey string
}

// initialize makes the keys of a store for a holder with a small PGP key, and
// returns the unseal key.
func initialize(st *seal.Store) (string, error) {
	entity, err := openpgp.NewEntity("holder", "", "holder@example.com", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		Time: func() time.Time { return time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) }, // before the time of any bubble
	})
	if err != nil {
		return "", err
	}
	var public bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		return "", err
	}
	info, err := st.Init(context.Background(), seal.InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{base64.StdEncoding.EncodeToString(public.Bytes())}})
	if err != nil {
		return "", err
	}
	message, err := hex.DecodeString(info.Keys[0])
	if err != nil {
		return "", err
	}
	md, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{entity}, nil, nil)
	if err != nil {
		return "", err
	}
	key, err := io.ReadAll(md.UnverifiedBody)
	return string(key), err
}

func startStore() (*secretStore, error) {
	s := &secretStore{}
	backend := memory.New()
	st, err := seal.Open(context.Background(), seal.Options{Backend: backend, Mode: seal.ModePermissive, Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	if s.unsealKey, err = initialize(st); err != nil {
		return nil, err
	}
	if _, err := st.Unseal(context.Background(), []byte(s.unsealKey)); err != nil {
		return nil, err
	}
	verifier, err := token.New(token.Config{HMACKey: []byte(signingKey)})
	if err != nil {
		return nil, err
	}
	s.policy.Store((*acl.Policy)(nil).WithSuperusers("app"))
	handler, err := api.New(api.Config{Store: st, Driver: "memory", Auth: verifier, Policy: s.policy.Load})
	if err != nil {
		return nil, err
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.gone.Load():
			http.Error(w, "404 page not found", http.StatusNotFound)
		case s.away.Load():
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the proxy finds no server", http.StatusServiceUnavailable)
		default:
			handler.ServeHTTP(w, r)
		}
	}))
	web.Listener.Close()
	l := pipes.Listen()
	s.seen = openapitest.Listen(l)
	web.Listener = s.seen
	web.Start()
	s.url, s.dial, s.store = web.URL, l.Dial, st
	s.close = func() {
		handler.EndWatches()
		web.Close()
		st.Close()
		backend.Close()
	}
	return s, nil
}

func (s *secretStore) client() (*client.Client, error) {
	raw, err := token.Sign("app", time.Time{}, "", []byte(signingKey))
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Server: s.url, Token: tokenSource(raw)})
	if err == nil {
		c.DialWith(s.dial)
	}
	return c, err
}

// sealed seals the store, which ends what waits.
func (s *secretStore) sealed(t *testing.T) {
	t.Helper()
	if _, err := s.store.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
}

func (s *secretStore) unseal(t *testing.T) {
	t.Helper()
	if _, err := s.store.Unseal(t.Context(), []byte(s.unsealKey)); err != nil {
		t.Fatal(err)
	}
}

func serveStore(t *testing.T) (*secretStore, *client.Client) {
	t.Helper()
	s, err := startStore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.close()
		d, err := openapitest.Load("../openapi.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range s.seen.Check(d) {
			t.Error(problem)
		}
	})
	c, err := s.client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func create(t *testing.T, c *client.Client, path, value string) {
	t.Helper()
	if err := c.CreateText(t.Context(), path, wire.SecretWrite{Value: value}); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, c *client.Client, path, value string) {
	t.Helper()
	if err := c.UpdateText(t.Context(), path, wire.SecretWrite{Value: value}); err != nil {
		t.Fatal(err)
	}
}

// keep opens a Store whose changes arrive on the channel.
func keep(t *testing.T, c *client.Client, paths ...string) (*client.Store, <-chan string) {
	t.Helper()
	changes := make(chan string, 100)
	s, err := client.NewStore(t.Context(), c, client.StoreConfig{Paths: paths, OnChange: func(path string) { changes <- path }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, changes
}

func await(t *testing.T, changes <-chan string, path string) {
	t.Helper()
	select {
	case got := <-changes:
		if got != path {
			t.Fatalf("%s has changed, want %s", got, path)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s has not changed", path)
	}
}

func holds(t *testing.T, s *client.Store, path, value string) {
	t.Helper()
	got, err := s.Get(path)
	if err != nil || string(got.Value) != value || got.Age != 0 {
		t.Errorf("%s: %q, age %v, %v; want %q", path, got.Value, got.Age, err, value)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestWatchReturnsTheNextValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := serveStore(t)
		ctx := t.Context()
		if _, err := c.Watch(ctx, "a", "", client.WatchOptions{Timeout: time.Millisecond}); !errors.Is(err, client.ErrNotModified) {
			t.Errorf("not there yet: %v", err)
		}
		create(t, c, "a", "v")
		first, err := c.Watch(ctx, "a", "", client.WatchOptions{})
		if err != nil || string(first.Value) != "v" || first.ETag == "" {
			t.Fatalf("%+v, %v", first, err)
		}
		if _, err := c.Watch(ctx, "a", first.ETag, client.WatchOptions{Timeout: time.Millisecond}); !errors.Is(err, client.ErrNotModified) {
			t.Errorf("known: %v", err)
		}
		service := "/app"
		var wg sync.WaitGroup
		wg.Go(func() {
			next, err := c.Watch(ctx, "a", first.ETag, client.WatchOptions{Service: &service})
			if err != nil || string(next.Value) != "w" {
				t.Errorf("%+v, %v", next, err)
			}
		})
		update(t, c, "a", "w")
		wg.Wait()
		if err := c.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Watch(ctx, "a", first.ETag, client.WatchOptions{}); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		if _, err := c.Watch(ctx, "a", "x", client.WatchOptions{}); !errors.Is(err, client.ErrBadRequest) {
			t.Errorf("no ETag: %v", err)
		}
	})
}

func TestStoreFollowsItsSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, c := serveStore(t)
		create(t, c, "a", "v1")
		s, changes := keep(t, c, "/a/", "group/b")
		holds(t, s, "a", "v1")
		if _, err := s.Get("group/b"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("not there: %v", err)
		}
		if _, err := s.Get("c"); !errors.Is(err, client.ErrNotKept) {
			t.Errorf("not kept: %v", err)
		}
		update(t, c, "a", "v2")
		await(t, changes, "a")
		holds(t, s, "/a", "v2")
		create(t, c, "group/b", "w")
		await(t, changes, "group/b")
		holds(t, s, "group/b", "w")
		if err := c.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		await(t, changes, "a")
		if _, err := s.Get("a"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		create(t, c, "a", "v3")
		await(t, changes, "a")
		holds(t, s, "a", "v3")
		// A permission that is taken away takes the value along.
		server.policy.Store((*acl.Policy)(nil).WithSuperusers("else"))
		await2(t, changes)
		if _, err := s.Get("a"); !errors.Is(err, client.ErrDenied) {
			t.Errorf("denied: %v", err)
		}
		server.policy.Store((*acl.Policy)(nil).WithSuperusers("app"))
		await2(t, changes)
		holds(t, s, "a", "v3")
	})
}

// await2 waits for both secrets to change, in any order.
func await2(t *testing.T, changes <-chan string) {
	t.Helper()
	for range 2 {
		select {
		case <-changes:
		case <-time.After(30 * time.Second):
			t.Fatal("no change")
		}
	}
}

func TestStoreKeepsTheLastKnownValueWhileTheServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, c := serveStore(t)
		create(t, c, "a", "v1")
		s, changes := keep(t, c, "a", "b")
		for name, leave := range map[string]func() func(){
			"sealed": func() func() {
				server.sealed(t)
				return func() { server.unseal(t) }
			},
			"no server behind the proxy": func() func() {
				server.away.Store(true)
				server.sealed(t) // ends what waits
				return func() {
					server.unseal(t)
					server.away.Store(false)
				}
			},
			"something else in its place": func() func() {
				server.gone.Store(true)
				server.sealed(t)
				return func() {
					server.unseal(t)
					server.gone.Store(false)
				}
			},
		} {
			back := leave()
			eventually(t, name+": the age is reported", func() bool {
				got, err := s.Get("a")
				if err != nil || string(got.Value) != "v1" {
					t.Fatalf("%s: %q, %v", name, got.Value, err)
				}
				return got.Age > 0 && s.Away("a") != nil
			})
			if _, err := s.Get("b"); !errors.Is(err, client.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
			back()
			eventually(t, name+": the server confirms it again", func() bool {
				got, err := s.Get("a")
				return err == nil && got.Age == 0 && s.Away("a") == nil && s.Away("b") == nil
			})
		}
		select {
		case path := <-changes:
			t.Errorf("%s is said to have changed", path)
		default:
		}
		update(t, c, "a", "v2")
		await(t, changes, "a")
		holds(t, s, "a", "v2")
	})
}

func TestNewStoreFailsWhereASecretCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, c := serveStore(t)
		server.sealed(t)
		if _, err := client.NewStore(t.Context(), c, client.StoreConfig{Paths: []string{"a", "b"}}); !errors.Is(err, client.ErrSealed) {
			t.Errorf("sealed: %v", err)
		}
		server.gone.Store(true)
		if _, err := client.NewStore(t.Context(), c, client.StoreConfig{Paths: []string{"a"}}); err == nil {
			t.Error("something else in its place was taken for a store without secrets")
		}
	})
}

// TestAServerThatDoesNotWaitIsNotAskedInALoop: an older release does not know
// the parameter watch, and answers at once with what it has.
func TestAServerThatDoesNotWaitIsNotAskedInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		l := pipes.Listen()
		web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("ETag", `"00000000000000000000000000000000"`)
			w.Header().Set("Content-Type", wire.TypeBinary)
			fmt.Fprint(w, "v")
		})}
		go web.Serve(l)
		t.Cleanup(func() { web.Close() })
		c := newClient(t, client.Config{Server: "http://127.0.0.1:1"})
		c.DialWith(l.Dial)
		s, changes := keep(t, c, "a")
		time.Sleep(time.Minute)
		if n := asked.Load(); n < 2 || n > 8 {
			t.Errorf("asked %d times in a minute", n)
		}
		if len(changes) > 0 {
			t.Error("nothing has changed")
		}
		holds(t, s, "a", "v")
	})
}
