//go:build zookeeper && linux

package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// hang is when a request counts as hanging. It is much longer than the server's
// own limit for the storage (4.5 s), for machines under load.
const hang = 15 * time.Second

// web keeps its connections, as clients do.
var web = &http.Client{Timeout: hang, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// answer is the answer to a request, or its error.
type answer struct {
	status int // 0 without an answer
	body   string
	header http.Header
	took   time.Duration
	err    error
}

func (a answer) String() string {
	return fmt.Sprintf("%d %.200q after %v (%v)", a.status, a.body, a.took, a.err)
}

// age returns the Age of the answer, and whether it has one.
func (a answer) age() (time.Duration, bool) {
	seconds, err := strconv.Atoi(a.header.Get("Age"))
	return time.Duration(seconds) * time.Second, err == nil
}

// unsent reports whether the request never reached a server.
func (a answer) unsent() bool {
	var op *net.OpError
	return errors.As(a.err, &op) && op.Op == "dial"
}

// value returns the value of a secret.
func (a answer) value() (string, error) {
	var secret struct{ Value *string }
	if err := json.Unmarshal([]byte(a.body), &secret); err != nil || secret.Value == nil {
		return "", fmt.Errorf("not a secret: %s", a)
	}
	return *secret.Value, nil
}

// names returns the names of a list.
func (a answer) names() ([]string, error) {
	var list struct{ Array []string }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || list.Array == nil {
		return nil, fmt.Errorf("not a list: %s", a)
	}
	return list.Array, nil
}

// request sends one request as the superuser. header is "Name: value".
func (s *server) request(method, path, body string, header ...string) answer {
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	auth, err := bearer()
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Authorization", auth)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	began := time.Now()
	resp, err := web.Do(req)
	if err != nil {
		return answer{err: err, took: time.Since(began)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{err: err, took: time.Since(began)}
	}
	return answer{resp.StatusCode, string(text), resp.Header, time.Since(began), nil}
}

func (s *server) get(path string, header ...string) answer {
	return s.request("GET", path, "", header...)
}

const (
	api     = "/secrets/v1"
	secrets = api + "/secret/default/"
	noCache = "Cache-Control: no-cache"
)

func put(s *server, path, value string) answer {
	return s.request("PUT", secrets+path, `{"value":"`+value+`"}`)
}

func patch(s *server, path, value string) answer {
	return s.request("PATCH", secrets+path, `{"value":"`+value+`"}`)
}
