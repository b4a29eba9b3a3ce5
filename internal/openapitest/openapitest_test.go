package openapitest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func load(t *testing.T) *Description {
	t.Helper()
	d, err := Load("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const tag = `"44ddad842770cef43baf334eee18d0e3"`

func TestOnlyDescribedExchangesPass(t *testing.T) {
	d := load(t)
	const secret, list = "/secrets/v1/secret/default/a", "/secrets/v1/secret/default?list=true"
	refused := `{"title":"400 Bad Request","description":"d"}`
	for _, row := range []struct {
		request, sent string // "METHOD target header: value; …"
		answer, body  string // "status header: value; …"
		words         string // in the error; "" is none
	}{
		{request: "GET " + secret, answer: "200 ETag: " + tag, body: `{"value":"v","labels":["l"]}`},
		{request: "GET //secrets/v1/secret/default/a%2Fb/", answer: "200 ETag: " + tag, body: `{"value":"v"}`},
		{request: "HEAD " + secret, answer: "200 ETag: " + tag},
		{request: "GET " + secret + "?versions=true", answer: "200", body: `{"versions":[],"deleted":null}`, words: "200"},
		{request: "GET " + secret, answer: "200", body: `{"value":"v","more":1}`, words: "200"},
		{request: "GET " + secret, answer: "200", body: `{"value":1}`, words: "200"},
		{request: "GET " + secret, answer: "200", body: `{"value":"v","author":null}`, words: "200"},
		{request: "GET " + secret, answer: "200", body: `{`, words: "decode"},
		{request: "GET " + secret, answer: "200 ETag: W/x", body: `{"value":"v"}`, words: "ETag"},
		{request: "GET " + secret, answer: "200 Set-Cookie: a=b", body: `{"value":"v"}`, words: "Set-Cookie"},
		{request: "GET " + secret, answer: "200 Content-Type: text/html", body: `{"value":"v"}`, words: "text/html"},
		{request: "GET " + secret, answer: "202", body: `{"value":"v"}`, words: "status is not described"},
		{request: "GET " + secret + "?list=maybe", answer: "200", body: `{"array":[]}`, words: "list"},
		{request: "GET " + secret + "?limit=x&timeout=x", answer: "200", body: `{"value":"v"}`},
		{request: "GET " + secret + "?list=true&limit=0", answer: "200", body: `{"array":[]}`, words: "limit"},
		{request: "GET /secrets/v1/secret/default/%20", answer: "200", body: `{"value":"v"}`, words: "path"},
		{request: "GET " + secret + "?deleted=true&limit=0", answer: "200", body: `{"array":[]}`, words: "limit"},
		{request: "GET " + list, answer: "200", body: `{"array":["a"]}`},
		{request: "GET " + secret + " Authorization: -", answer: "200", body: `{"value":"v"}`, words: "security"},
		{request: "GET " + secret + " Authorization: -; Cookie: dcos-acs-auth-cookie=x", answer: "200", body: `{"value":"v"}`},
		{request: "GET /live Authorization: -", answer: "200 Content-Type: text/plain; charset=utf-8", body: "live"},
		{request: "GET /live", answer: "200 Content-Type: text/plain", body: "dead", words: "200"},
		{request: "GET /nothing", answer: "200", body: "{}", words: "no operation"},
		{request: "GET /nothing", answer: "404", body: refused},
		{request: "POST " + secret, answer: "405 Allow: GET", body: refused},
		{request: "POST " + secret, answer: "405", body: refused, words: "Allow"},
		{request: "GET " + secret, answer: "401", body: refused, words: "WWW-Authenticate"},
		{request: "GET " + secret, answer: "429", body: refused, words: "Retry-After"},
		{request: "GET " + secret, answer: "503", body: `{"title":"503 Service Unavailable"}`, words: "503"},
		{request: "PUT " + secret, sent: `{"value":"v"}`, answer: "201 ETag: " + tag + "; Secretstore-Version: 1"},
		{request: "PUT " + secret, sent: `{"value":"v"}`, answer: "201 ETag: " + tag, words: "Secretstore-Version"},
		{request: "PUT " + secret, sent: `{"value":"v"}`, answer: "201 ETag: " + tag + "; Secretstore-Version: 1", body: "{}", words: "has a body"},
		{request: "PUT " + secret, sent: `{"value":2}`, answer: "201 ETag: " + tag + "; Secretstore-Version: 1", words: "request"},
		{request: "PUT " + secret, sent: `{"value":2}`, answer: "400", body: refused},
		{request: "PUT " + secret + " Content-Type: application/octet-stream", answer: "201 ETag: " + tag + "; Secretstore-Version: 1"},
		{request: "PUT " + secret + " Content-Type: text/html", sent: "x", answer: "201 ETag: " + tag + "; Secretstore-Version: 1", words: "text/html"},
		{request: "GET /secrets/v1/watch/default", answer: "200 Content-Type: text/event-stream", body: ": open\n\nid: 1\nevent: deleted\ndata: {\"name\":\"a\"}\n\n"},
		{request: "GET /secrets/v1/watch/default", answer: "200 Content-Type: text/event-stream", body: "id: 1\nevent: changed\ndata: {\"value\":\"a\"}\n\n", words: "event"},
		{request: "GET /secrets/v1/watch/default", answer: "200 Content-Type: text/event-stream", body: "id: 1\nevent: other\ndata: {}\n\n", words: "other"},
		{request: "PUT /secrets/v1/unseal/default", sent: `{"key":7}`, answer: "200", body: `{"sealed":true,"threshold":1,"shares":1,"progress":0}`, words: "request"},
		{request: "DELETE /secrets/v1/rekey/default?nonce=", answer: "204"},
	} {
		t.Run(row.request+row.answer+row.body, func(t *testing.T) {
			err := d.check(exchangeOf(t, row.request, row.sent, row.answer, row.body))
			switch {
			case err == nil && row.words != "":
				t.Errorf("it passes, and should not for %q", row.words)
			case err != nil && (row.words == "" || !strings.Contains(err.Error(), row.words)):
				t.Errorf("%v, want %q", err, row.words)
			}
		})
	}
}

func exchangeOf(t *testing.T, request, sent, answer, body string) exchange {
	t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	target, headers, _ := strings.Cut(rest, " ")
	r, err := http.NewRequest(method, "http://localhost"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "token=x")
	setHeaders(r.Header, headers)
	x := exchange{request: r, sent: []byte(sent), header: make(http.Header), body: []byte(body)}
	if body != "" || method == "HEAD" {
		x.header.Set("Content-Type", "application/json")
	}
	status, headers, _ := strings.Cut(answer, " ")
	if _, err := fmt.Sscan(status, &x.status); err != nil {
		t.Fatal(err)
	}
	setHeaders(x.header, headers)
	return x
}

// setHeaders sets those of "name: value; …"; the value "-" removes one.
func setHeaders(h http.Header, text string) {
	for _, pair := range strings.Split(text, "; ") {
		switch name, value, ok := strings.Cut(pair, ": "); {
		case value == "-":
			h.Del(name)
		case ok:
			h.Set(name, value)
		}
	}
}

func TestAListenerSeesAllExchangesOfItsConnections(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Request-Id", "1")
		w.WriteHeader(http.StatusTeapot)
	}))
	l := Listen(server.Listener)
	server.Listener = l
	server.Start()
	for range 2 {
		answer, err := http.Post(server.URL+"/live", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nnot HTTP")
	io.Copy(io.Discard, c)
	c.Close()
	server.Close()
	problems := l.Check(load(t))
	if len(problems) != 4 {
		t.Errorf("%d problems, want one for each request: %v", len(problems), problems)
	}
	for _, err := range problems {
		if !strings.Contains(err.Error(), "418") {
			t.Error(err)
		}
	}
}
