package client

import (
	"context"
	"net"
)

// DialWith makes the client connect by dial.
func (c *Client) DialWith(dial func() (net.Conn, error)) {
	c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return dial() }
}
