package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/oauth2-proxy/mockoidc"
	"go.uber.org/zap"

	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/iamtest"
	"secretstore/iam/oidc"
)

// server is one server of a cluster.
type server struct {
	*oidc.Service
	accounts *authority.Authority
	storage  *iamtest.Storage
}

func newServer(t *testing.T, c *iamtest.Cluster, rules oidc.Rules, clock *clock) *server {
	t.Helper()
	s := c.Server()
	a, err := authority.New(authority.Config{Storage: s, Log: zap.NewNop(), Rounds: 2000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	config := oidc.Config{Accounts: a, Rules: rules, Log: zap.NewNop()}
	if clock != nil {
		config.Now = clock.now
	}
	service := oidc.New(config)
	t.Cleanup(service.Forget)
	return &server{service, a, s}
}

// group makes a group.
func (s *server) group(t *testing.T, gid iam.GID) {
	t.Helper()
	if err := s.accounts.Change(t.Context(), func(d *iam.Directory) (iam.Change, error) { return d.CreateGroup(gid, "", iam.Internal, admin) }); err != nil {
		t.Fatal(err)
	}
}

func runMock(t *testing.T) *mockoidc.MockOIDC {
	t.Helper()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown() })
	return m
}

func (s *server) add(t *testing.T, id string, m *mockoidc.MockOIDC) {
	t.Helper()
	c := &oidc.Change{
		Description: ptr(id), Issuer: ptr(m.Issuer()), BaseURL: ptr("https://cluster.example"), ClientID: &m.ClientID, ClientSecret: []byte(m.ClientSecret),
		GroupsClaim: ptr([]string{"groups"}), Groups: ptr(map[string]string{"engineering": "dev"}),
	}
	if err := s.Create(t.Context(), id, c, admin); err != nil {
		t.Fatal(err)
	}
}

// visit is a browser at a provider: it returns what the provider sends back.
func visit(t *testing.T, where string) oidc.Answer {
	t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := browser.Get(where)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	back, err := answer.Location()
	if err != nil {
		t.Fatal(answer.Status, err)
	}
	if got := back.Scheme + "://" + back.Host + back.Path; got != "https://cluster.example"+oidc.CallbackPath {
		t.Fatal(got)
	}
	return oidc.ReadAnswer(back.Query())
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	var refusal *oidc.Refused
	if !errors.As(err, &refusal) {
		t.Errorf("%s: %v", what, err)
	}
}

var anyone = oidc.Rules{CreateUsers: true, Reserved: func(iam.UID) bool { return false }}

func TestFlowBegunAtOneServerEndsAtAnother(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	a, b := newServer(t, &cluster, anyone, nil), newServer(t, &cluster, anyone, nil)
	a.add(t, "corp", m)
	a.group(t, "dev")
	where, cookie, err := a.Start(t.Context(), "corp", oidc.Target{Place: "/ui?x=1"})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(where)
	if q := u.Query(); q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("client_id") != m.ClientID {
		t.Errorf("where: %s", where)
	}
	back := visit(t, where)
	done, err := b.Finish(t.Context(), cookie, back, elsewhere())
	who := done.Who
	if err != nil || who.UID != "jane.doe@example.com" || done.Target.Place != "/ui?x=1" || done.Code != "" {
		t.Fatal(done, err)
	}
	d, err := a.accounts.Directory()
	if err != nil {
		t.Fatal(err)
	}
	if now, ok := d.Identity(who.UID); !ok || now != who {
		t.Errorf("the account is %v, the sign-in for %v", now, who)
	}
	if members := d.Members("dev"); len(members) != 1 || members[0].UID != who.UID {
		t.Errorf("members: %v", members)
	}
	if _, err := a.Finish(t.Context(), cookie, back, elsewhere()); err == nil {
		t.Error("a code is good twice")
	}
}

func TestBrowserThatDidNotBeginASignInDoesNotEndOne(t *testing.T) {
	m := runMock(t)
	clock := newClock()
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, clock)
	s.add(t, "corp", m)
	where, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	back := visit(t, where)
	for name, try := range map[string]string{"no cookie": "", "the cookie of another browser": other, "a changed cookie": cookie[:len(cookie)-2] + "AA", "not base64": "!!", "a long cookie": cookie + string(make([]byte, 5000))} {
		_, err := s.Finish(t.Context(), try, back, elsewhere())
		refused(t, name, err)
	}
	wrong := back
	wrong.State = ""
	_, err = s.Finish(t.Context(), cookie, wrong, elsewhere())
	refused(t, "no state", err)
	wrong = back
	wrong.Issuer = "https://evil.example"
	_, err = s.Finish(t.Context(), cookie, wrong, elsewhere())
	refused(t, "the answer of another issuer", err)
	wrong = back
	wrong.Code, wrong.Error = "", "access_denied"
	_, err = s.Finish(t.Context(), cookie, wrong, elsewhere())
	refused(t, "no consent", err)
	clock.add(oidc.StateLife)
	_, err = s.Finish(t.Context(), cookie, back, elsewhere())
	refused(t, "after ten minutes", err)
}

func TestCodeOfOneBrowserIsNotGoodInAnother(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, nil)
	s.add(t, "corp", m)
	victim, _, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	stolen := visit(t, victim)
	where, cookie, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	injected := visit(t, where)
	injected.Code = stolen.Code
	if who, err := s.Finish(t.Context(), cookie, injected, elsewhere()); err == nil {
		t.Errorf("%v got in with the code of another browser", who)
	}
}

func TestAProviderThatIsDownIsUnavailableAndNotAsked(t *testing.T) {
	m := runMock(t)
	clock := newClock()
	var cluster iamtest.Cluster
	s := newServer(t, &cluster, anyone, clock)
	s.add(t, "corp", m)
	m.Shutdown()
	var away *oidc.Unavailable
	if _, _, err := s.Start(t.Context(), "corp", oidc.Target{Place: "/"}); !errors.As(err, &away) || away.Provider != "corp" {
		t.Fatal(err)
	}
	if n := s.Counts(); n.Unavailable != 1 {
		t.Errorf("counted: %+v", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing is fetched now
	if _, _, err := s.Start(ctx, "corp", oidc.Target{Place: "/"}); !errors.As(err, &away) {
		t.Errorf("it was asked again at once: %v", err)
	}
}

func TestProvidersAreKeptAndTheirSecretsStay(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	a, b := newServer(t, &cluster, anyone, nil), newServer(t, &cluster, anyone, nil)
	a.add(t, "corp", m)
	var refusal *iam.Error
	if err := a.Create(t.Context(), "corp", wanted(), admin); !errors.As(err, &refusal) || refusal.Code != iam.ProviderExists {
		t.Error(err)
	}
	if err := b.Update(t.Context(), "corp", &oidc.Change{Description: ptr("new"), ClientSecret: []byte(oidc.Hidden)}); err != nil {
		t.Fatal(err)
	}
	p, err := a.Provider("corp")
	if err != nil || p.Description != "new" || string(p.ClientSecret) != m.ClientSecret {
		t.Errorf("%+v, %v", p, err)
	}
	where, cookie, err := a.Start(t.Context(), "corp", oidc.Target{Place: "/"})
	if err != nil {
		t.Fatal(err)
	}
	back := visit(t, where)
	if err := b.Update(t.Context(), "corp", &oidc.Change{ClientID: ptr("other")}); err != nil {
		t.Fatal(err)
	}
	_, err = a.Finish(t.Context(), cookie, back, elsewhere())
	refused(t, "a provider that was changed meanwhile", err)
	if err := b.Delete(t.Context(), "corp"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"delete": a.Delete(t.Context(), "corp"), "update": a.Update(t.Context(), "corp", &oidc.Change{Description: ptr("x")}),
		"get": func() error { _, err := a.Provider("corp"); return err }(), "strange id": func() error { _, err := a.Provider("../key"); return err }(),
	} {
		if !errors.As(err, &refusal) || refusal.Code != iam.InvalidProvider {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := a.Providers(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestProvidersAreReadOnceForAllWhoAsk(t *testing.T) {
	m := runMock(t)
	var cluster iamtest.Cluster
	a, b := newServer(t, &cluster, anyone, nil), newServer(t, &cluster, anyone, nil)
	a.add(t, "corp", m)
	a.add(t, "partner", m)
	list := func() []*oidc.Provider {
		t.Helper()
		all, err := a.Providers()
		if err != nil || len(all) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
		return all
	}
	first := list()
	if again := list(); !slices.Equal(again, first) {
		t.Error("they were read again, which takes a while with many CA certificates")
	}
	if err := b.Update(t.Context(), "corp", &oidc.Change{Description: ptr("new")}); err != nil {
		t.Fatal(err)
	}
	if now := list(); now[0].Description != "new" || first[0].Description != "corp" || now[1] != first[1] {
		t.Errorf("after a change: %+v", now)
	}
	a.Forget()
	if again := list(); again[1] == first[1] {
		t.Error("the client secret is still in memory")
	}
}

func query(t *testing.T, where string) url.Values {
	t.Helper()
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}
