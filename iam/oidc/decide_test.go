package oidc_test

import (
	"errors"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"secretstore/iam"
	"secretstore/iam/oidc"
)

const issuer = "https://id.example"

var (
	epoch = time.Unix(1_700_000_000, 0).UTC()
	admin = iam.Origin{By: "admin", At: epoch}
	corp  = &oidc.Provider{ID: "corp", Issuer: issuer, GroupsClaim: []string{"groups"}, Groups: map[string]iam.GID{"Developers": "dev", "Roots": iam.Superusers}}
	open  = oidc.Rules{Reserved: func(uid iam.UID) bool { return uid == "root@example.com" }}
)

// directory has local, ann@ of corp, bob@ of the issuer, sue@ of another provider, tim@
// of SAML, and the group dev.
func directory(t *testing.T) *iam.Directory {
	t.Helper()
	d := (&iam.Directory{}).At(epoch)
	do := func(c iam.Change, err error) {
		if err != nil {
			t.Fatal(err)
		}
		d = d.With(c.Put, c.Remove...)
	}
	do(d.Setup(admin), nil)
	do(d.CreateGroup("dev", "", iam.Internal, admin))
	for uid, p := range map[iam.UID]iam.Provider{
		"local@example.com": {Type: iam.Internal}, "ann@example.com": {Type: iam.OIDC, ID: "corp"}, "bob@example.com": {Type: iam.OIDC, ID: issuer},
		"sue@example.com": {Type: iam.OIDC, ID: "other"}, "tim@example.com": {Type: iam.SAML, ID: "corp"}, "root@example.com": {Type: iam.OIDC, ID: "corp"},
		"file@example.com": {Type: iam.OIDC, ID: "corp"},
	} {
		do(d.CreateUser(iam.User{UID: uid, Provider: p}, admin))
	}
	return d.WithBootstrap(iam.FileIdentity("file@example.com", "x"))
}

func claims(sub, email string, values ...string) oidc.Claims {
	return oidc.Claims{Issuer: issuer, Subject: sub, Email: email, EmailVerified: true, Values: values}
}

func TestOnlyAccountsOfTheProviderSignIn(t *testing.T) {
	d := directory(t)
	create, first := open, open
	create.CreateUsers, first.FirstUser = true, true
	unverified, other := claims("1", "ann@example.com"), claims("1", "ann@example.com")
	unverified.EmailVerified, other.Issuer = false, "https://evil.example"
	const refused = "ID Token login failed: "
	for name, try := range map[string]struct {
		rules  oidc.Rules
		claims oidc.Claims
		want   string // the refusal
	}{
		"made for the provider":         {open, claims("1", "ann@example.com"), ""},
		"made for the issuer":           {open, claims("1", "bob@example.com"), ""},
		"made for another provider":     {create, claims("1", "sue@example.com"), refused + "provider ID mismatch"},
		"local":                         {create, claims("1", "local@example.com"), refused + "provider type mismatch"},
		"SAML":                          {create, claims("1", "tim@example.com"), refused + "provider type mismatch"},
		"unknown":                       {open, claims("1", "new@example.com"), refused + "user unknown"},
		"unknown, with accounts":        {first, claims("1", "new@example.com"), refused + "user unknown"},
		"unknown, created":              {create, claims("1", "new@example.com"), ""},
		"named by the configuration":    {create, claims("1", "root@example.com"), refused + "no provider signs this user in"},
		"superuser of the file":         {create, claims("1", "file@example.com"), refused + "no provider signs this user in"},
		"no rules":                      {oidc.Rules{CreateUsers: true}, claims("1", "ann@example.com"), refused + "no provider signs this user in"},
		"e-mail that has to be changed": {create, claims("1", "ann+x@example.com"), refused + "the e-mail address is not a user id"},
		"e-mail without a domain":       {create, claims("1", "local"), refused + "the e-mail address is not a user id"},
		"e-mail with two domains":       {create, claims("1", "a@b@example.com"), refused + "the e-mail address is not a user id"},
		"no e-mail":                     {create, claims("1", ""), "OpenID Connect ID Token login failed: ID Token lacks non-standard claim: email"},
		"unverified e-mail":             {create, unverified, "OpenID Connect ID Token login failed: ID Token must have `\"email_verified\": true` claim"},
		"another issuer":                {create, other, "OpenID Connect ID Token login failed: bad token"},
		"no subject":                    {create, claims("", "ann@example.com"), "OpenID Connect ID Token login failed: bad token"},
	} {
		got, err := oidc.Decide(d, corp, try.claims, try.rules, epoch)
		var refusal *oidc.Refused
		switch {
		case try.want == "" && (err != nil || string(got.Who.UID) != try.claims.Email || got.Who.Generation == iam.Generation{}):
			t.Errorf("%s: %v, %v", name, got, err)
		case try.want != "" && (!errors.As(err, &refusal) || refusal.Text != try.want || got.Who != iam.Identity{} || len(got.Change.Put) > 0):
			t.Errorf("%s: %v, %v, not %q", name, got, err, try.want)
		}
	}
}

func TestTheFirstUserIsMadeOnlyWhileThereIsNone(t *testing.T) {
	d := (&iam.Directory{}).At(epoch)
	d = d.With(d.Setup(admin).Put).WithBootstrap(iam.FileIdentity("admin", "x"))
	first := open
	first.FirstUser = true
	got, err := oidc.Decide(d, corp, claims("1", "new@example.com"), first, epoch)
	if err != nil {
		t.Fatal(err)
	}
	d = d.With(got.Change.Put)
	if d.IsSuperuser("new@example.com") {
		t.Error("the first user is a superuser")
	}
	if _, err := oidc.Decide(d, corp, claims("2", "next@example.com"), first, epoch); err == nil {
		t.Error("a second user was made")
	}
}

func TestSubjectCountsAndNotTheEMail(t *testing.T) {
	d := directory(t)
	got, err := oidc.Decide(d, corp, claims("1", "ann@example.com"), open, epoch)
	if err != nil {
		t.Fatal(err)
	}
	d = d.With(got.Change.Put)
	if _, err := oidc.Decide(d, corp, claims("2", "ann@example.com"), open, epoch); err == nil {
		t.Error("another subject with the e-mail of a bound account got in")
	}
	again, err := oidc.Decide(d, corp, claims("1", "bob@example.com"), open, epoch)
	if err != nil || again.Who != got.Who || len(again.Change.Put) > 0 {
		t.Errorf("a changed e-mail: %v, %v", again, err)
	}
	moved := *corp
	moved.Issuer = "https://other.example"
	c := claims("1", "ann@example.com")
	c.Issuer = moved.Issuer
	if _, err := oidc.Decide(d, &moved, c, open, epoch); err == nil {
		t.Error("the same subject of another issuer got in")
	}
	other := oidc.Provider{ID: "second", Issuer: issuer}
	if _, err := oidc.Decide(d, &other, claims("1", "ann@example.com"), open, epoch); err == nil {
		t.Error("the account signs in with a provider that it was not made for")
	}
	later := open
	later.Reserved = func(uid iam.UID) bool { return uid == "ann@example.com" }
	if _, err := oidc.Decide(d, corp, claims("1", "ann@example.com"), later, epoch); err == nil {
		t.Error("a bound account signs in although the configuration names it now")
	}
}

func TestAClaimGivesMappedGroupsAndNeverSuperusers(t *testing.T) {
	d := directory(t)
	for _, step := range []struct {
		values []string
		want   bool
	}{{[]string{"Developers", "Roots", "superusers", "dev"}, true}, {[]string{"dev", "superusers"}, false}} {
		got, err := oidc.Decide(d, corp, claims("1", "ann@example.com", step.values...), open, epoch)
		if err != nil {
			t.Fatal(err)
		}
		d = d.With(got.Change.Put)
		u, _ := d.User("ann@example.com")
		in := slices.ContainsFunc(u.Groups, func(m iam.Membership) bool { return m.GID == "dev" && m.Mapped })
		if in != step.want || d.IsSuperuser("ann@example.com") {
			t.Errorf("%v: %v", step.values, u.Groups)
		}
	}
}

func TestClaimsAreReadStrictly(t *testing.T) {
	p := &oidc.Provider{ClientID: "me", GroupsClaim: []string{"a.b", "roles"}}
	for text, want := range map[string][]string{
		`{"iss":"i","sub":"s","iat":1,"email":"e","email_verified":true,"a.b":{"roles":["x","y"]}}`:      {"x", "y"},
		`{"iss":"i","sub":"s","iat":1,"azp":"me","email":"e","email_verified":true,"a.b":{"roles":"x"}}`: {"x"},
		`{"iss":"i","sub":"s","iat":1,"email":"e","email_verified":true,"a.b":["roles"],"a":{"b":1}}`:    nil,
		`{"iss":"i","sub":"s","iat":1,"email":"e","email_verified":true,"a.b":{"roles":{"x":1}}}`:        nil,
		`{"iss":"i","sub":"s","iat":1,"email":"e","email_verified":true,"a.b":{"roles":[1,"x"]}}`:        nil,
	} {
		c, err := p.Claims([]byte(text))
		if err != nil || !c.EmailVerified || c.Email != "e" || c.Issuer != "i" || c.Subject != "s" || !slices.Equal(c.Values, want) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for _, text := range []string{
		``, `[]`, `null`, `{}`, `{"iss":"i","sub":"s"}`, `{"iss":"i","iat":1}`, `{"iss":1,"sub":"s","iat":1}`, `{"iss":"i","sub":"s","iat":null}`, `{"iss":"i","sub":"s","iat":"1"}`,
		`{"iss":"i","iss":"j","sub":"s","iat":1}`, `{"iss":"i","sub":"s","iat":1,"azp":"other"}`, `{"iss":"i","sub":"s","iat":1,"azp":["me"]}`, "{\"iss\":\"i\xff\",\"sub\":\"s\",\"iat\":1}",
	} {
		if _, err := p.Claims([]byte(text)); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
	for _, verified := range []string{`"true"`, `1`, `"false"`, `null`, `[true]`} {
		c, err := p.Claims([]byte(`{"iss":"i","sub":"s","iat":1,"email":"e","EMAIL_VERIFIED":true,"email_verified":` + verified + `}`))
		if err != nil || c.EmailVerified {
			t.Errorf("email_verified %s counts as true (%v)", verified, err)
		}
	}
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"i","sub":"s","iat":1,"email":"e","email_verified":true,"a":{"b":["x"]}}`))
	f.Add([]byte(`{"a":{"b":"x"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := (&oidc.Provider{ClientID: "me", GroupsClaim: []string{"a", "b"}}).Claims(payload)
		if err != nil && (c.EmailVerified || c.Email != "" || len(c.Values) > 0) {
			t.Errorf("%+v with %v", c, err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func wanted() *oidc.Change {
	return &oidc.Change{
		Description: ptr("Corp"), Issuer: ptr(issuer), BaseURL: ptr("https://cluster.example/"), ClientID: ptr("secretstore"), ClientSecret: []byte("s3cret"),
		GroupsClaim: ptr([]string{"realm_access", "roles"}), Groups: ptr(map[string]string{"Developers": "dev"}),
	}
}

func TestProviderThatIsUnsafeOrIncompleteIsRefused(t *testing.T) {
	p, err := wanted().Create("corp-1", admin)
	if err != nil || p.BaseURL != "https://cluster.example" {
		t.Fatal(p, err)
	}
	for name, edit := range map[string]func(*oidc.Change){
		"no description":         func(c *oidc.Change) { c.Description = nil },
		"no secret":              func(c *oidc.Change) { c.ClientSecret = nil },
		"empty secret":           func(c *oidc.Change) { c.ClientSecret = []byte{} },
		"the mask as the secret": func(c *oidc.Change) { c.ClientSecret = []byte(oidc.Hidden) },
		"issuer over http":       func(c *oidc.Change) { c.Issuer = ptr("http://id.example") },
		"issuer localhost":       func(c *oidc.Change) { c.Issuer = ptr("http://localhost:1") },
		"issuer with query":      func(c *oidc.Change) { c.Issuer = ptr("https://id.example?x") },
		"issuer with user":       func(c *oidc.Change) { c.Issuer = ptr("https://a:b@id.example") },
		"issuer file":            func(c *oidc.Change) { c.Issuer = ptr("file:///etc/passwd") },
		"issuer with backslash":  func(c *oidc.Change) { c.Issuer = ptr(`https://id.example\x`) },
		"base_url script":        func(c *oidc.Change) { c.BaseURL = ptr("javascript:alert(1)") },
		"no verification":        func(c *oidc.Change) { c.VerifyServer = ptr(false) },
		"bad certificates":       func(c *oidc.Change) { c.CACerts = ptr("x") },
		"superusers":             func(c *oidc.Change) { c.Groups = ptr(map[string]string{"x": "superusers"}) },
		"bad group":              func(c *oidc.Change) { c.Groups = ptr(map[string]string{"x": "a b"}) },
		"mapping without claim":  func(c *oidc.Change) { c.GroupsClaim = nil },
		"empty name in claim":    func(c *oidc.Change) { c.GroupsClaim = ptr([]string{""}) },
	} {
		c := wanted()
		edit(c)
		_, err := c.Create("corp", admin)
		if e := (*iam.Error)(nil); !errors.As(err, &e) || e.Code != iam.InvalidProvider {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "Corp", "a/b", "a_b", "..", "é", string(make([]byte, 65))} {
		if _, err := wanted().Create(id, admin); err == nil {
			t.Errorf("id %q is accepted", id)
		}
	}
	kept, err := (&oidc.Change{Description: ptr("x"), ClientSecret: []byte(oidc.Hidden)}).Apply(p)
	if err != nil || string(kept.ClientSecret) != "s3cret" || kept.Description != "x" || kept.ClientID != "secretstore" {
		t.Errorf("%+v, %v", kept, err)
	}
}

func TestRecordOfAProviderIsReadAsItWasWritten(t *testing.T) {
	p, err := wanted().Create("corp", admin)
	if err != nil {
		t.Fatal(err)
	}
	record, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := oidc.Decode("corp", record)
	if err != nil || got.Issuer != p.Issuer || string(got.ClientSecret) != "s3cret" || !maps.Equal(got.Groups, p.Groups) || got.Made != p.Made {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := oidc.Decode("other", record); err == nil {
		t.Error("the record of one provider is that of another")
	}
	later := slices.Concat(record[:1], []byte(`{"later":1,`), record[2:])
	if _, err := oidc.Decode("corp", later); err != nil {
		t.Errorf("a member of a later version: %v", err)
	}
	record[0] = 2
	if _, err := oidc.Decode("corp", record); err == nil {
		t.Error("another format is read")
	}
}

func FuzzProviderRecord(f *testing.F) {
	p, _ := wanted().Create("corp", admin)
	record, _ := p.Encode()
	f.Add(record)
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, record []byte) {
		p, err := oidc.Decode("corp", record)
		if err != nil {
			return
		}
		if oidc.CheckURL(p.Issuer) != nil || p.ID != "corp" || len(p.ClientSecret) == 0 {
			t.Fatalf("a provider that breaks the rules: %+v", p)
		}
		for _, gid := range p.Groups {
			if gid == iam.Superusers {
				t.Fatal("a claim makes superusers")
			}
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oidc.Decode("corp", again); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTargetIsAPathOfThisServerOrAProgramOnTheComputerOfTheBrowser(t *testing.T) {
	for s, want := range map[string]string{"": "/", "/": "/", "/a?b=c#d": "/a?b=c#d", oidc.ShowToken: oidc.ShowToken, oidc.Pages: oidc.Pages} {
		if got, err := oidc.ParseTarget(s, ""); err != nil || got.Place != want || got.Challenge != "" {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"//evil.example", `/\evil.example`, `\\evil.example`, "https://evil.example", "javascript:alert(1)", "evil", "/a\n/b", "/\t/evil.example", "/ é", "/a b",
		"dcos:authenticationresponse:html2", " /", "///x", "/" + string(make([]byte, 10)), "http:/x", "http://127.0.0.1:80/x",
	} {
		if got, err := oidc.ParseTarget(s, ""); err == nil {
			t.Errorf("%q: %q", s, got)
		}
	}
	for _, s := range []string{
		"/a/b/", "/ui/secret?path=a/b", "/?to=//evil.example", `/?to=%5c%2f..`, "/#//x/../y", "/a%20b", "/a%25b", "/a%3Fb", "/%C3%A9", "/@evil.example", "/:80", "/...", "/a..b/.c", "/%2e.a",
	} {
		if got, err := oidc.ParseTarget(s, ""); err != nil || got.Place != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	// Two slashes, a backslash, a control character or a dot segment, as they are,
	// encoded, and encoded twice.
	for _, s := range []string{
		"/..//x", "/.//x", "/a/..//x", "/a//x", "/a//", "/..", "/.", "/a/../x", "/./x", "/x/.", "/x/..?y", "/x/..#y",
		"/%2fx", "/%2Fx", "/a%2f%2fx", "/%2e%2e//x", "/%2e%2e/%2fx", "/.%2e/x", "/%2E./x", "/%2e/x", "/%5cx", "/%5Cx", "/a%5c", "/%09/x", "/%0a/x", "/%0d%0aa", "/%00", "/%7f", "/%C2%85",
		"/%252fx", "/%252e%252e/x", "/%25252fx", "/%255cx", "/%2509/x", "/%", "/%zz", "/%2", "/a%2", "/..%2f/x", "/..%5cx",
	} {
		if got, err := oidc.ParseTarget(s, ""); err == nil {
			t.Errorf("%q: %q", s, got)
		}
	}
	for _, page := range []string{"secrets", "secret?path=a%2Fb&x=1", "secret-new?"} {
		if got, err := oidc.ParseTarget(oidc.Pages+"/"+page, ""); err != nil || got != (oidc.Target{Place: oidc.Pages, Page: page}) {
			t.Errorf("the page %q: %+v, %v", page, got, err)
		}
	}
	challenge := oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())
	for _, page := range []string{"", "/", "//evil.example", "..", "../metrics", "secrets/x", "?x", "secret#x", `secret?\`, "secret?a b", "secret?\r\nx", "https:x", "Secret", "secret?" + strings.Repeat("x", 1024)} {
		for _, c := range []string{"", challenge} {
			if got, err := oidc.ParseTarget(oidc.Pages+"/"+page, c); err == nil {
				t.Errorf("the page %q: %+v", page, got)
			}
		}
	}
	for _, s := range []string{"http://127.0.0.1:80/x", "http://127.0.0.1:65535/", "http://[::1]:8000/a/b"} {
		if got, err := oidc.ParseTarget(s, challenge); err != nil || got.Place != s || got.Challenge != challenge {
			t.Errorf("%q: %q, %v", s, got, err)
		}
		for _, bad := range []string{"x", challenge[:42], challenge + "A", challenge[:42] + "=", "."} {
			if got, err := oidc.ParseTarget(s, bad); err == nil {
				t.Errorf("%q with the challenge %q: %q", s, bad, got)
			}
		}
	}
	for _, s := range []string{
		"", "/", oidc.ShowToken, "http://localhost:80/x", "http://127.0.0.1/x", "http://127.0.0.1:80", "http://127.0.0.1:0/x", "http://127.0.0.1:65536/x", "http://127.0.0.1:080/x",
		"https://127.0.0.1:80/x", "http://127.0.0.2:80/x", "http://127.1:80/x", "http://0.0.0.0:80/x", "http://[::]:80/x", "http://[0::1]:80/x", "http://[::1%25lo]:80/x",
		"http://[::ffff:127.0.0.1]:80/x", "http://evil.example:80/x", "http://127.0.0.1:80@evil.example:80/x", "http://127.0.0.1.evil.example:80/x", "http://a:b@127.0.0.1:80/x",
		"http://127.0.0.1:80/x?y", "http://127.0.0.1:80/x#y", "http://127.0.0.1:80/%0d", `http://127.0.0.1:80\@evil.example/`, "HTTP://127.0.0.1:80/x", " http://127.0.0.1:80/x",
	} {
		if got, err := oidc.ParseTarget(s, challenge); err == nil {
			t.Errorf("%q with a challenge: %q", s, got)
		}
	}
}

func FuzzTarget(f *testing.F) {
	challenge := oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())
	for _, s := range []string{"/", "//x", `/\x`, "/a\x00", "/..//x", "/%2e%2e//x", "/%252fx", "/%5cx", "/a?b=//c#/../d", oidc.ShowToken, oidc.Pages, oidc.Pages + "/secret?path=a%2Fb", oidc.Pages + "/..", "http://127.0.0.1:1/", "http://[::1]:1/x"} {
		f.Add(s, "")
		f.Add(s, challenge)
	}
	f.Fuzz(func(t *testing.T, s, challenge string) {
		got, err := oidc.ParseTarget(s, challenge)
		if err != nil || got.Place == oidc.ShowToken {
			return
		}
		for _, c := range []byte(got.Place + got.Page) {
			if c <= ' ' || c > '~' || c == '\\' {
				t.Fatalf("%q has a character that browsers change", got)
			}
		}
		if got.Place == oidc.Pages {
			base, _ := url.Parse("https://host/prefix/ui/")
			if to, err := base.Parse(got.Page); err != nil || to.Host != "host" || !strings.HasPrefix(to.Path, "/prefix/ui/") || got.Challenge != "" {
				t.Fatalf("%q leads elsewhere", got)
			}
			return
		}
		if got.Challenge != "" {
			u, err := url.Parse(got.Place)
			if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" || u.Port() == "" || u.RawQuery != "" || len(got.Challenge) != 43 {
				t.Fatalf("%q leads elsewhere", got)
			}
			return
		}
		staysHere(t, got.Place)
	})
}

// staysHere wants that no one who decodes a target, or resolves its dot segments, reads
// another server in it.
func staysHere(t *testing.T, place string) {
	here := &url.URL{Scheme: "https", Host: "here.example", Path: "/a/b/c"}
	at, _, _ := strings.Cut(place, "#")
	at, _, _ = strings.Cut(at, "?")
	for {
		slashes := strings.ReplaceAll(at, `\`, "/")
		if clean := path.Clean(slashes); clean != slashes && clean+"/" != slashes || !strings.HasPrefix(clean, "/") || strings.Contains(slashes, "//") {
			t.Fatalf("%q is read as %q", place, clean)
		}
		if u, err := here.Parse(at); err == nil && u.Host != here.Host {
			t.Fatalf("%q leads to %s", place, u)
		}
		decoded, err := url.PathUnescape(at)
		if err != nil || decoded == at {
			return
		}
		at = decoded
	}
}
