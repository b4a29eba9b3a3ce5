package clientnet

import (
	"net/netip"
	"testing"
)

func TestAddressesThatCountAsOneClient(t *testing.T) {
	for _, row := range []struct{ address, want string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64"},
		{"2001:db8:1:3::", "2001:db8:1:3::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"::1", "::/64"},
	} {
		if got := Parse(row.address).String(); got != row.want {
			t.Errorf("%s counts as %s, want %s", row.address, got, row.want)
		}
	}
	for _, s := range []string{"", "host", "192.0.2.7:80", "pipe"} {
		if got := Parse(s); got.IsValid() {
			t.Errorf("%q counts as %s", s, got)
		}
	}
}

func TestWithin(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00::1": true, "fd00::1%eth0": true, "11.0.0.1": false, "fe80::1": false,
	} {
		if Within(netip.MustParseAddr(address), networks) != want {
			t.Errorf("%s: not %v", address, want)
		}
	}
}
