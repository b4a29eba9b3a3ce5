package client_test

import (
	"context"
	"fmt"
	"log"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// A service reads its password wherever it needs it, and reconnects when
// somebody has changed it.
func ExampleStore() {
	server, err := startStore() // in life: client.Config{Server: "https://…"}
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
	// Age is 0 while the server stands behind the value.
	fmt.Printf("reconnect with %s, age %v\n", password.Value, password.Age)
	// Output:
	// connect with first
	// reconnect with second, age 0s
}
