package iam

import "net/netip"

// Client is an account, whether it exists or not, and the network that somebody
// signs in from; see package clientnet. It is comparable.
type Client struct {
	UID     UID
	Network netip.Prefix
}
