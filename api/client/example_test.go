package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// A service reads its password wherever it needs it, and reconnects when it has
// changed.
func ExampleStore() {
	server, err := startStore() // in a program: client.Config{Server: "https://…"}
	if err != nil {
		log.Fatal(err)
	}
	defer server.close()
	c, err := server.client()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	if err := c.CreateText(ctx, "group/app/db-password", wire.SecretWrite{Value: "first"}); err != nil {
		log.Fatal(err)
	}

	changed := make(chan string, 1)
	secrets, err := client.NewStore(ctx, c, client.StoreConfig{
		Paths:    []string{"group/app/db-password"},
		OnChange: func(path string) { changed <- path },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer secrets.Close()
	password, err := secrets.Get("group/app/db-password")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("connect with %s\n", password.Value)

	if err := c.UpdateText(ctx, "group/app/db-password", wire.SecretWrite{Value: "second"}); err != nil {
		log.Fatal(err)
	}
	password, err = secrets.Get(<-changed)
	if err != nil {
		log.Fatal(err)
	}
	// Age is 0 while the server confirms the value.
	fmt.Printf("reconnect with %s, age %v\n", password.Value, password.Age)
	// Output:
	// connect with first
	// reconnect with second, age 0s
}

func ExampleClient() {
	server, err := startStore() // in a program: client.Config{Server: "https://…"}
	if err != nil {
		log.Fatal(err)
	}
	defer server.close()
	c, err := server.client()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	if err := c.CreateText(ctx, "group/db-password", wire.SecretWrite{Value: "first"}); err != nil {
		log.Fatal(err)
	}
	err = c.CreateText(ctx, "group/db-password", wire.SecretWrite{Value: "second"})
	fmt.Println("exists:", errors.Is(err, client.ErrExists))

	secret, err := c.Get(ctx, "group/db-password", client.GetOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("value: %s\n", secret.Value)

	names, err := c.List(ctx, "group")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("names:", names)
	// Output:
	// exists: true
	// value: first
	// names: [db-password]
}

// Only the first of two writers that read the same value changes it.
func ExampleClient_IfMatch() {
	server, err := startStore()
	if err != nil {
		log.Fatal(err)
	}
	defer server.close()
	c, err := server.client()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	if err := c.CreateText(ctx, "counter", wire.SecretWrite{Value: "1"}); err != nil {
		log.Fatal(err)
	}

	read, err := c.Get(ctx, "counter", client.GetOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		err := c.IfMatch(read.ETag).UpdateText(ctx, "counter", wire.SecretWrite{Value: "2"})
		fmt.Println("changed meanwhile:", errors.Is(err, client.ErrChanged))
	}
	// Output:
	// changed meanwhile: false
	// changed meanwhile: true
}

// A scheduler fetches all secrets that a task of /group/app needs, at once.
func ExampleClient_ResolveSecrets() {
	server, err := startStore()
	if err != nil {
		log.Fatal(err)
	}
	defer server.close()
	c, err := server.client()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	if err := c.CreateText(ctx, "group/password", wire.SecretWrite{Value: "s3cret"}); err != nil {
		log.Fatal(err)
	}

	got, err := c.ResolveSecrets(ctx, wire.ResolveRequest{
		Service: "/group/app",
		Secrets: map[string]wire.SecretSource{"db": {Source: "group/password"}},
	}, client.ResolveOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*got.Definitions[0].Secrets["db"].Value)

	// All or nothing: the message names the secret.
	_, err = c.ResolveSecrets(ctx, wire.ResolveRequest{
		Service: "/group/app",
		Secrets: map[string]wire.SecretSource{"db": {Source: "other/password"}},
	}, client.ResolveOptions{})
	fmt.Println("not accessible:", errors.Is(err, client.ErrUnresolvable))
	// Output:
	// s3cret
	// not accessible: true
}

// A cache drops what has changed, and everything when it may have missed a
// change.
func ExampleClient_Changes() {
	server, err := startStore()
	if err != nil {
		log.Fatal(err)
	}
	defer server.close()
	c, err := server.client()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	for change, err := range c.Changes(ctx, "group", client.ChangesOptions{Resume: true}) {
		switch {
		case err != nil:
			log.Fatal(err) // in a program: call Changes again
		case change.Resync:
			fmt.Println("drop everything")
			if err := c.CreateText(ctx, "group/a", wire.SecretWrite{Value: "v"}); err != nil {
				log.Fatal(err)
			}
			continue
		}
		fmt.Println("drop", change.Path)
		break
	}
	// Output:
	// drop everything
	// drop group/a
}

// A call that may be repeated is, until the server is back or the time is up.
func ExampleRetry() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	calls := 0
	secret, err := client.Retry(ctx, client.Retries{
		Notify: func(err error, _ time.Duration) { fmt.Println("again:", err) },
	}, func(context.Context) (string, error) {
		if calls++; calls == 1 {
			return "", &client.Error{Status: 503, Title: "503 Service Unavailable"}
		}
		return "value", nil
	})
	fmt.Println(secret, err)
	// Output:
	// again: 503 Service Unavailable
	// value <nil>
}
