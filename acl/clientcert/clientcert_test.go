package clientcert_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/acl/clientcert"
	"secretstore/internal/certtest"
)

// start is the time of the tests.
var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func dns(text string) certtest.Name { return certtest.DNS(text) }
func uri(text string) certtest.Name { return certtest.URI(text) }

func rule(t testing.TB, text string) clientcert.Rule {
	t.Helper()
	r, err := clientcert.ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesEndWhereAPartOfANameDoes(t *testing.T) {
	for text, ok := range map[string]bool{
		"uri:spiffe://example.com/user/": true, "uri:urn:user:": true, "dns:.users.example.com": true, "dns:.local": true,
		"": false, "uri": false, "uri:": false, "uri:/": false, "dns:": false, "dns:.": false, "cn:alice": false, ":x": false,
		"uri:spiffe://example.com": false, "dns:users.example.com": false, "dns:.Example.com": false, "dns:.a..b": false, "dns:.a.": false,
		"dns:.*.example.com": false, "uri:spiffe://ex\x00ample.com/": false, "uri:spiffe://exämple.com/": false, "uri: x/": false,
		"uri:" + strings.Repeat("a", acl.MaxUIDBytes) + "/": false,
	} {
		if _, err := clientcert.ParseRule(text); (err == nil) != ok || err != nil && !errors.Is(err, clientcert.ErrRule) {
			t.Errorf("%q: %v, want accepted %v", text, err, ok)
		}
	}
}

// TestTheUserIsTheOneNameThatMatches: nothing is guessed from another name, the
// subject included, and the name is never changed.
func TestTheUserIsTheOneNameThatMatches(t *testing.T) {
	ca := certtest.New(t, "ca", start)
	const byURI, byDNS = "uri:spiffe://example.com/user/", "dns:.users.example.com"
	long := strings.Repeat("a", acl.MaxUIDBytes-len("spiffe://example.com/user/"))
	for _, row := range []struct {
		what, rule string
		names      []certtest.Name
		uid        string // "": refused
	}{
		{"a URI", byURI, []certtest.Name{uri("spiffe://example.com/user/alice")}, "spiffe://example.com/user/alice"},
		{"among others", byURI, []certtest.Name{dns("host.users.example.com"), uri("https://x.example/"), uri("spiffe://example.com/user/alice")}, "spiffe://example.com/user/alice"},
		{"escaped as it is", byURI, []certtest.Name{uri("spiffe://example.com/user/%61lice")}, "spiffe://example.com/user/%61lice"},
		{"the longest", byURI, []certtest.Name{uri("spiffe://example.com/user/" + long)}, "spiffe://example.com/user/" + long},
		{"too long", byURI, []certtest.Name{uri("spiffe://example.com/user/a" + long)}, ""},
		{"huge", byURI, []certtest.Name{uri("spiffe://example.com/user/" + strings.Repeat("a", 20000))}, ""},
		{"none", byURI, nil, ""},
		{"only another kind", byURI, []certtest.Name{dns("spiffe://example.com/user/alice")}, ""},
		{"only others", byURI, []certtest.Name{uri("spiffe://example.com/host/x"), uri("spiffe://example.com/userx/alice")}, ""},
		{"nothing behind the prefix", byURI, []certtest.Name{uri("spiffe://example.com/user/")}, ""},
		{"two", byURI, []certtest.Name{uri("spiffe://example.com/user/alice"), uri("spiffe://example.com/user/bob")}, ""},
		{"the same twice", byURI, []certtest.Name{uri("spiffe://example.com/user/alice"), uri("spiffe://example.com/user/alice")}, ""},
		{"two that differ in case", byURI, []certtest.Name{uri("spiffe://example.com/user/alice"), uri("SPIFFE://EXAMPLE.com/user/bob")}, ""},
		{"in upper case", byURI, []certtest.Name{uri("SPIFFE://example.com/user/alice")}, ""},
		{"a space at the end", byURI, []certtest.Name{uri("spiffe://example.com/user/alice ")}, ""},

		{"a DNS name", byDNS, []certtest.Name{dns("alice.users.example.com")}, "alice.users.example.com"},
		{"of several parts", byDNS, []certtest.Name{dns("alice.dev.users.example.com")}, "alice.dev.users.example.com"},
		{"half a part", byDNS, []certtest.Name{dns("evilusers.example.com")}, ""},
		{"the suffix alone", byDNS, []certtest.Name{dns(".users.example.com")}, ""},
		{"a wildcard", byDNS, []certtest.Name{dns("*.users.example.com")}, ""},
		{"a part of it", byDNS, []certtest.Name{dns("al*.users.example.com")}, ""},
		{"upper case in front", byDNS, []certtest.Name{dns("Alice.users.example.com")}, ""},
		{"upper case at the end", byDNS, []certtest.Name{dns("alice.Users.example.com")}, ""},
		{"two", byDNS, []certtest.Name{dns("alice.users.example.com"), dns("bob.USERS.example.com")}, ""},
		{"a NUL", byDNS, []certtest.Name{dns("alice\x00.users.example.com")}, ""},
		{"a NUL at the end", byDNS, []certtest.Name{dns("alice.users.example.com\x00.evil.example")}, ""},
		{"an empty part", byDNS, []certtest.Name{dns("alice..users.example.com")}, ""},
		{"a control character", byDNS, []certtest.Name{dns("al\x1b[31m.users.example.com")}, ""},
	} {
		v := clientcert.New(rule(t, row.rule), func() time.Time { return start })
		v.SetAuthorities([]*x509.Certificate{ca.Cert})
		cert := ca.Client(t, start, start.Add(time.Hour), row.names...).Leaf
		who, err := v.Verify([]*x509.Certificate{cert})
		if row.uid == "" && (!errors.Is(err, clientcert.ErrName) || who != acl.Principal{}) {
			t.Errorf("%s: %+v, %v, want ErrName", row.what, who, err)
		}
		if row.uid != "" && (err != nil || who.UID != row.uid) {
			t.Errorf("%s: %+v, %v, want %s", row.what, who, err, row.uid)
		}
		if _, bound := who.Service.Get(); bound {
			t.Errorf("%s: bound to a service", row.what)
		}
	}
}

// TestNamesThatAreNotASCIIAreRefused: crypto/x509 refuses to read them, so that
// the handshake fails; if it did not, this package would refuse them.
func TestNamesThatAreNotASCIIAreRefused(t *testing.T) {
	v := clientcert.New(rule(t, "dns:.users.example.com"), func() time.Time { return start })
	ca := certtest.New(t, "ca", start)
	v.SetAuthorities([]*x509.Certificate{ca.Cert})
	cert := *ca.Client(t, start, start.Add(time.Hour), dns("alice.users.example.com")).Leaf
	for i := range cert.Extensions {
		cert.Extensions[i].Value = certtest.Alternatives(t, dns("älice.users.example.com"))
	}
	if who, err := v.Verify([]*x509.Certificate{&cert}); !errors.Is(err, clientcert.ErrName) {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestTheZeroRuleNamesNobody(t *testing.T) {
	ca := certtest.New(t, "ca", start)
	v := clientcert.New(clientcert.Rule{}, func() time.Time { return start })
	v.SetAuthorities([]*x509.Certificate{ca.Cert})
	for _, names := range [][]certtest.Name{{dns("a")}, {uri("a")}, nil} {
		if who, err := v.Verify([]*x509.Certificate{ca.Client(t, start, start.Add(time.Hour), names...).Leaf}); !errors.Is(err, clientcert.ErrName) {
			t.Errorf("%v: %+v, %v", names, who, err)
		}
	}
}

func TestOnlyValidCertificatesOfPresentAuthoritiesCount(t *testing.T) {
	const user = "alice.users.example.com"
	alice := dns(user)
	ca, stranger := certtest.New(t, "ca", start), certtest.New(t, "ca", start) // of one name
	between := ca.Below(t, "between", start, start.AddDate(1, 0, 0))
	client := certtest.Of(ca.Client(t, start, start.Add(time.Hour), alice))
	forServers := ca.Sign(t, &x509.Certificate{
		NotBefore: start, NotAfter: start.Add(time.Hour), DNSNames: []string{user}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	deep := between
	var chain []*x509.Certificate
	for range 3 {
		deep = deep.Below(t, "deep", start, start.AddDate(1, 0, 0))
		chain = append([]*x509.Certificate{deep.Cert}, chain...)
	}
	for _, row := range []struct {
		what  string
		chain []*x509.Certificate
		ok    bool
	}{
		{"of the CA", []*x509.Certificate{ca.Client(t, start, start.Add(time.Hour), alice).Leaf}, true},
		{"of a CA below", []*x509.Certificate{between.Client(t, start, start.Add(time.Hour), alice).Leaf, between.Cert}, true},
		{"of a CA below that is not shown", []*x509.Certificate{between.Client(t, start, start.Add(time.Hour), alice).Leaf}, false},
		{"of a stranger", []*x509.Certificate{stranger.Client(t, start, start.Add(time.Hour), alice).Leaf}, false},
		{"of a stranger, who shows the CA", []*x509.Certificate{stranger.Client(t, start, start.Add(time.Hour), alice).Leaf, ca.Cert}, false},
		{"of a client", []*x509.Certificate{client.Client(t, start, start.Add(time.Hour), alice).Leaf, client.Cert}, false},
		{"for servers", []*x509.Certificate{forServers.Leaf}, false},
		{"not valid yet", []*x509.Certificate{ca.Client(t, start.Add(time.Second), start.Add(time.Hour), alice).Leaf}, false},
		{"expired", []*x509.Certificate{ca.Client(t, start.Add(-time.Hour), start.Add(-time.Second), alice).Leaf}, false},
		{"the CA itself", []*x509.Certificate{ca.Cert}, false},
		{"too many", append([]*x509.Certificate{deep.Client(t, start, start.Add(time.Hour), alice).Leaf, between.Cert}, chain...), false},
		{"nothing", nil, false},
	} {
		v := clientcert.New(rule(t, "dns:.users.example.com"), func() time.Time { return start })
		if _, err := v.Verify(row.chain); !errors.Is(err, clientcert.ErrUntrusted) {
			t.Errorf("%s, without authorities: %v", row.what, err)
		}
		v.SetAuthorities([]*x509.Certificate{ca.Cert})
		who, err := v.Verify(row.chain)
		if (err == nil) != row.ok || row.ok != (who.UID == user) {
			t.Errorf("%s: %+v, %v, want accepted %v", row.what, who, err, row.ok)
		}
	}
}

// TestValidityIsCheckedAtEachUse: of a certificate that has been verified before.
func TestValidityIsCheckedAtEachUse(t *testing.T) {
	now := start
	ca, other := certtest.New(t, "ca", start), certtest.New(t, "other", start)
	v := clientcert.New(rule(t, "dns:.users.example.com"), func() time.Time { return now })
	v.SetAuthorities([]*x509.Certificate{ca.Cert})
	chain := []*x509.Certificate{ca.Client(t, start, start.Add(time.Hour), dns("alice.users.example.com")).Leaf}
	check := func(what string, ok bool) {
		t.Helper()
		if who, err := v.Verify(chain); (err == nil) != ok || ok != (who.UID != "") {
			t.Errorf("%s: %+v, %v, want accepted %v", what, who, err, ok)
		}
	}
	check("now", true)
	if who, _ := v.Verify(chain); !who.Expires.After(chain[0].NotAfter) || who.Expires.After(chain[0].NotAfter.Add(time.Second)) {
		t.Errorf("expires at %v, the certificate at %v", who.Expires, chain[0].NotAfter)
	}
	now = start.Add(time.Hour)
	check("at the last moment", true)
	now = start.Add(time.Hour + time.Nanosecond)
	check("after it", false)
	now = start.Add(-time.Second)
	check("before it", false)
	now = start.Add(10 * time.Second)
	check("again", true)
	v.SetAuthorities([]*x509.Certificate{other.Cert})
	check("without its authority", false)
	v.SetAuthorities([]*x509.Certificate{other.Cert, ca.Cert})
	check("with it again", true)
	v.SetAuthorities(nil)
	check("without any", false)
}

// TestChainEndsWithItsFirstCertificate: an authority that expires takes its
// clients with it.
func TestChainEndsWithItsFirstCertificate(t *testing.T) {
	now := start
	ca := certtest.New(t, "ca", start)
	between := ca.Below(t, "between", start, start.Add(time.Minute))
	v := clientcert.New(rule(t, "dns:.users.example.com"), func() time.Time { return now })
	v.SetAuthorities([]*x509.Certificate{ca.Cert})
	chain := []*x509.Certificate{between.Client(t, start, start.Add(time.Hour), dns("alice.users.example.com")).Leaf, between.Cert}
	who, err := v.Verify(chain)
	if err != nil || who.Expires.After(start.Add(time.Minute+time.Second)) {
		t.Errorf("%+v, %v", who, err)
	}
	now = start.Add(2 * time.Minute)
	if who, err := v.Verify(chain); !errors.Is(err, clientcert.ErrUntrusted) {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestMuchShownInAHandshakeIsRefused(t *testing.T) {
	if err := clientcert.CheckSize([][]byte{make([]byte, 16<<10), make([]byte, 16<<10)}, nil); err != nil {
		t.Error(err)
	}
	if clientcert.CheckSize([][]byte{make([]byte, 16<<10), make([]byte, 16<<10), {1}}, nil) == nil {
		t.Error("more than 32 KiB were accepted")
	}
}

// FuzzAlternativeNames: whatever is in the extension, the user has the suffix or
// the prefix, and is a user id.
func FuzzAlternativeNames(f *testing.F) {
	ca := certtest.New(f, "ca", start)
	f.Add(certtest.Alternatives(f, dns("alice.users.example.com")), certtest.Alternatives(f, uri("urn:user:alice")))
	f.Add([]byte{0x30, 0x80}, []byte{})
	cert := ca.Client(f, start, start.Add(time.Hour), dns("x")).Leaf
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := *cert
		c.Extensions = append(c.Extensions[:0:0], c.Extensions...)
		for i, value := range [][]byte{first, second} {
			e := c.Extensions[0]
			e.Id, e.Value = []int{2, 5, 29, 17}, value
			if i < len(c.Extensions) {
				c.Extensions[i] = e
			} else {
				c.Extensions = append(c.Extensions, e)
			}
		}
		for _, text := range []string{"dns:.users.example.com", "uri:urn:user:"} {
			uid, err := clientcert.UID(rule(t, text), &c)
			_, part, _ := strings.Cut(text, ":")
			fits := acl.ValidUID(uid) && len(uid) > len(part) && (strings.HasPrefix(uid, part) || strings.HasSuffix(uid, part))
			if err == nil != fits || err != nil && !errors.Is(err, clientcert.ErrName) {
				t.Fatalf("%s: %q, %v", text, uid, err)
			}
		}
	})
}
