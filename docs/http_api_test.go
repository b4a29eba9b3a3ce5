package docs_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"secretstore/internal/openapitest"
)

const apiBase = "/secrets/v1"

// call is a request that the page on the HTTP API names: in a table, in a
// sentence, or as a command.
type call struct {
	method, path string
	query        []string // names of parameters
	statuses     []int    // of the answer, as the page says
	who          string   // the cell of a table
}

func describedAPI(t *testing.T) *openapitest.Description {
	t.Helper()
	d, err := openapitest.Load("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// operation returns the operation of a call. The page leaves out the base path,
// and in sentences the store too: PUT /rekey.
func (c *call) operation(d *openapitest.Description) *openapi3.Operation {
	for _, path := range []string{c.path, apiBase + c.path, apiBase + c.path + "/{store}", apiBase + c.path + "/{store}/{path}"} {
		if op := d.Operation(c.method, path); op != nil {
			return op
		}
	}
	return nil
}

const methods = `GET|HEAD|PUT|PATCH|DELETE|POST`

var (
	named     = regexp.MustCompile("`((?:" + methods + ") [^`]+)`")
	tableRow  = regexp.MustCompile("(?m)^\\| (`(?:" + methods + ")\\b[^|]*)\\|([^|\n]*)\\|(?:([^|\n]*)\\|)?$")
	spans     = regexp.MustCompile("`([^`]+)`")
	statusNum = regexp.MustCompile(`\b[1-5][0-9][0-9]\b`)
	command   = regexp.MustCompile(`(?m)^(?:.*\$\()?curl (.*)$`)
	target    = regexp.MustCompile(`(?:\$URL|http://127\.0\.0\.1:1337` + apiBase + `)(/[^\s"']*)`)
)

// parseCall reads METHOD PATH?QUERY.
func parseCall(text string) call {
	method, rest, _ := strings.Cut(strings.Join(strings.Fields(text), " "), " ")
	path, query, _ := strings.Cut(rest, "?")
	c := call{method: method, path: strings.Replace(path, "…", "/secret/{store}", 1)}
	for _, pair := range strings.Split(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); name != "" {
			c.query = append(c.query, name)
		}
	}
	return c
}

func numbers(text string) (all []int) {
	for _, digits := range statusNum.FindAllString(text, -1) {
		if n, err := strconv.Atoi(digits); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// ofTables returns the calls of the tables. One row may have several methods of a
// path, `GET`, `DELETE /rekey/{store}`, or several paths: `GET /store`,
// `/store/{store}`.
func ofTables(page string) (all []call) {
	for _, row := range tableRow.FindAllStringSubmatch(page, -1) {
		var pending []string
		for _, span := range spans.FindAllStringSubmatch(row[1], -1) {
			text := span[1]
			switch {
			case !strings.Contains(text, "/"):
				pending = append(pending, text)
				continue
			case strings.HasPrefix(text, "/"):
				text = all[len(all)-1].method + " " + text
			}
			first := parseCall(text)
			first.statuses, first.who = numbers(row[2]), strings.TrimSpace(row[3])
			for _, method := range append(pending, first.method) {
				c := first
				c.method = method
				all = append(all, c)
			}
			pending = nil
		}
	}
	return all
}

// ofCommands returns the calls of the lines with curl. The status is in a comment:
// # 204.
func ofCommands(page string) (all []call) {
	page = strings.ReplaceAll(page, "\\\n", " ")
	for _, line := range command.FindAllStringSubmatch(page, -1) {
		found := target.FindStringSubmatch(line[1])
		if found == nil {
			continue
		}
		method := http.MethodGet
		if m := regexp.MustCompile(`-X (\w+)`).FindStringSubmatch(line[1]); m != nil {
			method = m[1]
		}
		c := parseCall(method + " " + found[1])
		if _, comment, ok := strings.Cut(line[1], "# "); ok {
			c.statuses = numbers(comment)
		}
		all = append(all, c)
	}
	return all
}

func ofSentences(page string) (all []call) {
	for _, m := range named.FindAllStringSubmatch(page, -1) {
		all = append(all, parseCall(m[1]))
	}
	return all
}

func TestEachCallOfThePageIsDescribed(t *testing.T) {
	d := describedAPI(t)
	page := pages(t)["docs/http-api.md"]
	tables, commands, sentences := ofTables(page), ofCommands(page), ofSentences(page)
	if len(tables) < 35 || len(commands) < 30 || len(sentences) < 45 {
		t.Errorf("only %d calls in tables, %d commands and %d calls in sentences were found", len(tables), len(commands), len(sentences))
	}
	for _, c := range append(append(tables, commands...), sentences...) {
		op := c.operation(d)
		if op == nil {
			t.Errorf("%s %s is not described", c.method, c.path)
			continue
		}
		for _, name := range c.query {
			if op.Parameters.GetByInAndName("query", name) == nil {
				t.Errorf("%s %s has no parameter %s", c.method, c.path, name)
			}
		}
		for _, status := range c.statuses {
			if op.Responses.Status(status) == nil {
				t.Errorf("%s %s does not answer %d", c.method, c.path, status)
			}
		}
		if superuser := strings.Contains(op.Description, "Permission: superuser"); c.who != "" && superuser != (c.who == "superuser") && !strings.Contains(op.Description, c.who) {
			t.Errorf("%s %s is for a superuser: %v, the page says %s", c.method, c.path, superuser, c.who)
		}
	}
}

// TestEachOperationIsOnThePage also looks for its parameters, its headers, and the
// statuses of errors.
func TestEachOperationIsOnThePage(t *testing.T) {
	d := describedAPI(t)
	page := pages(t)["docs/http-api.md"]
	onPage := make(map[*openapi3.Operation]bool)
	for _, c := range append(ofTables(page), ofSentences(page)...) {
		onPage[c.operation(d)] = true
	}
	_, table, _ := strings.Cut(page, "\n## Errors\n")
	statuses := make(map[string]bool) // those of the page
	for _, m := range regexp.MustCompile(`(?m)^\| ([45]\d\d) \|`).FindAllStringSubmatch(table, -1) {
		statuses[m[1]] = false
	}
	mentions := func(name string) bool {
		return regexp.MustCompile("[`?&]" + regexp.QuoteMeta(name) + "[`=:]").MatchString(page)
	}
	d.Operations(func(method, path string, op *openapi3.Operation) {
		if !onPage[op] {
			t.Errorf("%s %s is not on the page", method, path)
		}
		for _, p := range op.Parameters {
			if p.Value.In != openapi3.ParameterInPath && !mentions(p.Value.Name) {
				t.Errorf("the page does not name %s, a parameter of %s %s", p.Value.Name, method, path)
			}
		}
		for status, answer := range op.Responses.Map() {
			if _, known := statuses[status]; !known && status >= "400" {
				t.Errorf("the page does not explain %s, an answer to %s %s", status, method, path)
			} else if known {
				statuses[status] = true
			}
			for name := range answer.Value.Headers {
				if !mentions(name) {
					t.Errorf("the page does not name %s, a header of the answer %s to %s %s", name, status, method, path)
				}
			}
		}
	})
	for status, answered := range statuses {
		if !answered && status != "405" { // of paths with other methods
			t.Errorf("nothing answers %s", status)
		}
	}
}
