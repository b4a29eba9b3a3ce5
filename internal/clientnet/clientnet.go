// Package clientnet says which addresses count as one client. Limits that are
// shared out by address use it.
package clientnet

import "net/netip"

// sixBits is how much of an IPv6 address counts: a host can use all addresses
// of its /64.
const sixBits = 64

// Of returns the network that counts as one client: an IPv4 address itself, and
// the /64 of an IPv6 address. It is the zero Prefix for the zero Addr.
func Of(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = sixBits
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

// Parse returns Of the address in s, and the zero Prefix if s is not one.
func Parse(s string) netip.Prefix {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}
	}
	return Of(addr)
}

// Within reports whether the address lies in one of the networks.
func Within(addr netip.Addr, networks []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
