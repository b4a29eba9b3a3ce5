package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/oauth2-proxy/mockoidc"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestLoginWithABrowser runs scripts with a provider in this process, and a program
// xdg-open that hands the address to the test:
//
//	provider ID URL     adds the provider to the server at URL
//	browser [KIND]      signs in at the address. "other-paths" asks for other paths
//	                    of the command line first; "foreign" brings it the code of
//	                    a sign-in that another command line has begun; "closed"
//	                    does nothing
func TestLoginWithABrowser(t *testing.T) {
	t.Parallel()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown() })
	runScripts(t, "../../testdata/script/oidc", func(env *testscript.Env) error {
		bin, addresses := filepath.Join(env.WorkDir, "browsers"), filepath.Join(env.WorkDir, "addresses")
		env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
		return errors.Join(os.Mkdir(bin, 0o700), syscall.Mkfifo(addresses, 0o600),
			os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\necho \"$1\" > "+addresses+"\n"), 0o700))
	}, map[string]command{
		"provider": func(ts *testscript.TestScript, _ bool, args []string) {
			body, err := json.Marshal(map[string]string{"description": "Corp", "issuer": m.Issuer(), "base_url": args[1], "client_id": m.ClientID, "client_secret": m.ClientSecret})
			ts.Check(err)
			req, err := http.NewRequest(http.MethodPut, args[1]+"/acs/api/v1/auth/oidc/providers/"+args[0], bytes.NewReader(body))
			ts.Check(err)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "token="+strings.TrimSpace(ts.ReadFile("root.token")))
			answer, err := http.DefaultClient.Do(req)
			ts.Check(err)
			answer.Body.Close()
			if answer.StatusCode != http.StatusCreated {
				ts.Fatalf("%s", answer.Status)
			}
		},
		"browser": func(ts *testscript.TestScript, _ bool, args []string) {
			address, err := os.ReadFile(ts.MkAbs("addresses"))
			ts.Check(err)
			start, err := url.Parse(strings.TrimSpace(string(address)))
			ts.Check(err)
			if len(args) > 0 && args[0] == "closed" {
				return
			}
			query := start.Query()
			program := query.Get("target")
			switch strings.Join(args, " ") {
			case "other-paths":
				root := program[:strings.LastIndex(program, "/")]
				for _, path := range []string{program, root + "/?code=x", root + "/x?code=x", program + "?code=", program + "/?code=x"} {
					_, status := browse(ts, path)
					if status != http.StatusNotFound {
						ts.Fatalf("%s: status %d", path, status)
					}
				}
			case "foreign":
				query.Set("code_challenge", strings.Repeat("A", 43))
			}
			start.RawQuery = query.Encode()
			page, _ := browse(ts, start.String())
			link := regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(page)
			if link == nil || !strings.Contains(page, "wants to sign in as <b>jane.doe@example.com</b>") {
				ts.Fatalf("%s", page)
			}
			if page, status := browse(ts, html.UnescapeString(link[1])); status != http.StatusOK || !strings.Contains(page, "Go back to the command line") {
				ts.Fatalf("%d: %s", status, page)
			}
		},
	})
}

// browse gets a page as a browser does.
func browse(ts *testscript.TestScript, address string) (page string, status int) {
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	req, err := http.NewRequest(http.MethodGet, address, nil)
	ts.Check(err)
	req.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	answer, err := (&http.Client{Jar: jar}).Do(req)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	return string(text), answer.StatusCode
}
