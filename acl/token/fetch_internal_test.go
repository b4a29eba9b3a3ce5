package token

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// The name localhost may resolve to anything; the address decides. 192.0.2.1 is
// reserved for documentation, and is not dialled.
func TestPlainHTTPNeverLeavesThisHost(t *testing.T) {
	transport, ok := newClient(true, nil).Transport.(*http.Transport)
	if !ok {
		t.Fatal("not an http.Transport")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80", "0.0.0.0:80"} {
		conn, err := transport.DialContext(ctx, "tcp", address)
		if !errors.Is(err, ErrBadSource) {
			t.Errorf("%s: %v", address, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}
