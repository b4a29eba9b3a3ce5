package doctor

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"secretstore/api/client"
)

func TestFixMatchesWhyAServerDidNotTell(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("connection refused"), fixServer},
		{errNotSuperuser, fixToken},
		{fmt.Errorf("keys: %w", &client.Error{Status: http.StatusUnauthorized}), fixToken},
		{&client.Error{Status: http.StatusForbidden}, fixToken},
		{errNoHost, fixUpdate},
		{&client.Error{Status: http.StatusServiceUnavailable}, fixFault},
	} {
		if got := fixFor(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// TestServerWithoutStorageIsNoWrongToken: the server knows the user for a superuser,
// but cannot read the keys.
func TestServerWithoutStorageIsNoWrongToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/seal-status/") {
			fmt.Fprint(w, `{"sealed":false,"server":{"host":{}}}`)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	c, err := client.New(client.Config{Server: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var f Facts
	GatherServers(t.Context(), &f, []Asked{{URL: srv.URL, Client: c}})
	if len(f.Gaps) != 1 || f.Gaps[0].Check != CheckExpiry || f.Gaps[0].Fix != fixFault {
		t.Errorf("%+v", f.Gaps)
	}
}
