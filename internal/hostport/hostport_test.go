package hostport

import (
	"net/url"
	"strings"
	"testing"
)

func TestHostsAndPorts(t *testing.T) {
	for text, want := range map[string]struct {
		host string
		port uint16
	}{
		"master.mesos":     {"master.mesos", 0},
		"master.mesos:80":  {"master.mesos", 80},
		"a_b-c.D.:65535":   {"a_b-c.D.", 65535},
		"127.0.0.1:1337":   {"127.0.0.1", 1337},
		"[::1]":            {"[::1]", 0},
		"[2001:db8::1]:80": {"[2001:db8::1]", 80},
	} {
		if host, port, err := Split(text); err != nil || host != want.host || port != want.port {
			t.Errorf("%q: %q, %d, %v", text, host, port, err)
		}
	}
	for _, text := range []string{
		"", ":", ":80", "host:", "host:0", "host:65536", "host:+80", "host:80:80", "::1", "[::1", "::1]", "[::1%eth0]", "[127.0.0.1]", "[host]", "[]",
		"user@host", "host/path", "host?x", "host#x", "host\\evil", "a b", "a\r\nSet-Cookie: x", "a\x00", "ä", "-host", ".host", "host%2f", "https://host",
		strings.Repeat("a", 254),
	} {
		if host, port, err := Split(text); err == nil {
			t.Errorf("%q is taken for %q, %d", text, host, port)
		}
	}
}

// FuzzSplit: what is accepted is the host of a URL in which it is written, and nothing
// else.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"host:80", "[::1]:80", "user@host", "a/b", "a\r\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := Split(s)
		if err != nil {
			return
		}
		u, err := url.Parse("https://" + Join(host, port) + "/x")
		if err != nil || u.Host != Join(host, port) || u.Path != "/x" || u.User != nil || strings.Trim(host, "[]") != u.Hostname() {
			t.Fatalf("%q: %q, %d becomes %v (%v)", s, host, port, u, err)
		}
	})
}
