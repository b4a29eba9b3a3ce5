// Package openapitest checks the requests and answers of tests against the
// description of the HTTP API, api/openapi.yaml. It is for tests only.
package openapitest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Description is the description of the HTTP API.
type Description struct {
	doc       *openapi3.T
	templates []template
	// refusals are the answers to requests that no operation describes.
	refusals *openapi3.Operation
	// passed has the requests and answers that have passed: a check compiles the
	// schemas, and tests repeat themselves.
	passed sync.Map
}

// template is a path of the description.
type template struct {
	path    string
	pattern *regexp.Regexp // with a group for each parameter
	names   []string       // of the parameters
	fixed   int            // the length of the rest
	item    *openapi3.PathItem
}

// init has pages compared with the description as plain text.
func init() { openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder) }

// Load reads the description from a file.
func Load(file string) (*Description, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		return nil, err
	}
	d := &Description{doc: doc, refusals: &openapi3.Operation{Responses: openapi3.NewResponses()}}
	for path, item := range doc.Paths.Map() {
		d.templates = append(d.templates, newTemplate(path, item))
		for _, op := range item.Operations() {
			op.Parameters = append(op.Parameters, item.Parameters...)
			for status, response := range op.Responses.Map() {
				if status >= "400" {
					d.refusals.Responses.Set(status, response)
				}
				for _, media := range response.Value.Content {
					forbidOthers(media.Schema)
				}
			}
		}
	}
	// Of two that fit, the one with more in it that is not a parameter counts.
	slices.SortFunc(d.templates, func(a, b template) int { return b.fixed - a.fixed })
	for _, schema := range eventSchemas {
		forbidOthers(doc.Components.Schemas[schema])
	}
	d.refusals.Responses.Set(strconv.Itoa(http.StatusMethodNotAllowed), doc.Components.Responses["MethodNotAllowed"])
	return d, nil
}

var parameter = regexp.MustCompile(`\\\{(\w+)\\\}`)

// newTemplate makes the pattern of a path: the path of a secret contains slashes.
func newTemplate(path string, item *openapi3.PathItem) template {
	tmpl := template{path: path, item: item}
	pattern := parameter.ReplaceAllStringFunc(regexp.QuoteMeta(path), func(name string) string {
		name = strings.Trim(name, `\{}`)
		tmpl.names = append(tmpl.names, name)
		if name == "path" || name == "rid" {
			return "(.+)"
		}
		return "([^/]+)"
	})
	tmpl.fixed = len(parameter.ReplaceAllString(regexp.QuoteMeta(path), ""))
	tmpl.pattern = regexp.MustCompile("^" + pattern + "$")
	return tmpl
}

// forbidOthers makes a schema of answers stricter than the description: an answer
// of a test has no members that are not described.
func forbidOthers(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil {
		return
	}
	s := ref.Value
	if s.Properties != nil && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		no := false
		s.AdditionalProperties.Has = &no
	}
	forbidOthers(s.Items)
	forbidOthers(s.AdditionalProperties.Schema)
	for _, all := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf, s.AllOf} {
		for _, one := range all {
			forbidOthers(one)
		}
	}
	for _, property := range s.Properties {
		forbidOthers(property)
	}
}

// Operation returns the operation that describes requests for a path, which may
// have values or the names of its parameters in it; nil if there is none.
func (d *Description) Operation(method, path string) *openapi3.Operation {
	if route, params := d.find(method, &url.URL{Path: path}); params != nil {
		return route.Operation
	}
	return nil
}

// Operations calls visit with each operation.
func (d *Description) Operations(visit func(method, path string, op *openapi3.Operation)) {
	for _, tmpl := range d.templates {
		for method, op := range tmpl.item.Operations() {
			visit(method, tmpl.path, op)
		}
	}
}

// slashes are what counts as one slash.
var slashes = regexp.MustCompile("(/|%2[Ff])+")

// iamPath begins the paths whose slashes are as they were sent.
const iamPath = "/acs/"

// find returns the route of a request, and the values of the parameters in its
// path. Without an operation for it, the route has the refusals.
func (d *Description) find(method string, u *url.URL) (*routers.Route, map[string]string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := u.EscapedPath()
	if !strings.HasPrefix(path, iamPath) {
		path = slashes.ReplaceAllString(path, "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	for _, tmpl := range d.templates {
		found := tmpl.pattern.FindStringSubmatch(path)
		op := tmpl.item.GetOperation(method)
		if found == nil || op == nil {
			continue
		}
		params := make(map[string]string)
		for i, name := range tmpl.names {
			if plain, err := url.PathUnescape(found[i+1]); err == nil {
				params[name] = plain
			}
		}
		return &routers.Route{Spec: d.doc, Path: tmpl.path, PathItem: tmpl.item, Method: method, Operation: op}, params
	}
	return &routers.Route{Spec: d.doc, PathItem: &openapi3.PathItem{}, Method: method, Operation: d.refusals}, nil
}

// exchange is a request and its answer.
type exchange struct {
	request *http.Request
	sent    []byte // the body of the request
	status  int
	header  http.Header
	body    []byte // of the answer
	partial bool   // the connection ended before the body did
}

var errUndescribed = errors.New("no operation describes this request")

// check returns what is wrong with an exchange. Each answer must be described. So
// must each request that succeeds; others may be malformed on purpose.
func (d *Description) check(x exchange) error {
	route, params := d.find(x.request.Method, x.request.URL)
	if x.accepted() {
		r := x.request
		err := d.once(func() error { return checkRequest(x, route, params) }, r.Method, r.URL, headerText(r.Header), sha256.Sum256(x.sent))
		if err != nil {
			return fmt.Errorf("the request is not as described, but the answer is %d: %w", x.status, err)
		}
	}
	err := d.once(func() error { return d.checkAnswer(x, route) }, x.request.Method, route.Path, x.status, headerText(x.header), sha256.Sum256(x.body), x.partial)
	if err != nil {
		return fmt.Errorf("the answer %d is not as described: %w", x.status, err)
	}
	return nil
}

// once returns nil if check has passed before for the same input.
func (d *Description) once(check func() error, input ...any) error {
	key := fmt.Sprintf("%q", input)
	if _, passed := d.passed.Load(key); passed {
		return nil
	}
	err := check()
	if err == nil {
		d.passed.Store(key, nil)
	}
	return err
}

// headerText is a header without what differs from one request to the next.
func headerText(h http.Header) string {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Content-Length", "Date", "X-Request-Id"} {
		if h.Get(name) != "" {
			h.Set(name, "")
		}
	}
	return fmt.Sprint(h)
}

// accepted reports whether the server has understood all of the request.
func (x *exchange) accepted() bool {
	switch x.status {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	}
	return x.status < http.StatusBadRequest
}

func checkRequest(x exchange, route *routers.Route, params map[string]string) error {
	if params == nil {
		return errUndescribed
	}
	r := x.request.Clone(context.Background())
	r.Method = route.Method
	r.Body = io.NopCloser(bytes.NewReader(x.sent))
	kind := r.Header.Get("Content-Type")
	if body := route.Operation.RequestBody; kind == "" || body != nil && body.Value.Content[octets] == nil {
		r.Header.Set("Content-Type", "application/json") // what the server takes it for
	}
	return openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, QueryParams: effective(r.URL.Query(), strings.HasPrefix(r.URL.Path, iamPath)), Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: hasCredential, SkipSettingDefaults: true,
			ExcludeRequestBody: kind == octets && len(x.sent) == 0, // an empty value, which openapi3filter takes for none
		},
	})
}

const octets = "application/octet-stream"

// effective leaves out the parameters that are ignored without another one.
func effective(query url.Values, iam bool) url.Values {
	if !query.Has("watch") {
		query.Del("timeout")
	}
	if !query.Has("list") && !query.Has("deleted") && !iam {
		query.Del("limit")
		query.Del("after")
	}
	return query
}

// hasCredential finds the credential of a security scheme.
func hasCredential(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	r := in.RequestValidationInput.Request
	scheme := in.SecurityScheme
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case scheme.Type == "http" && strings.EqualFold(kind, scheme.Scheme) && value != "":
		return nil
	case scheme.In == "header" && r.Header.Get(scheme.Name) != "":
		return nil
	case scheme.In == "cookie" && len(r.CookiesNamed(scheme.Name)) > 0:
		return nil
	}
	return errors.New("there is no such credential")
}

// everywhere are the headers that any answer may have.
var everywhere = map[string]bool{
	"Cache-Control": true, "X-Content-Type-Options": true, "X-Request-Id": true, "Traceparent": true,
	"Content-Type": true, "Content-Length": true, "Date": true, "Connection": true, "Transfer-Encoding": true,
}

// unserved reports whether the answer can be that of a server without an IAM.
func unserved(x exchange, op *openapi3.Operation) bool {
	return slices.Contains(op.Tags, "iam") && (x.status == http.StatusUnauthorized || x.status == http.StatusNotFound)
}

func (d *Description) checkAnswer(x exchange, route *routers.Route) error {
	described := route.Operation.Responses.Status(x.status)
	if described == nil && (x.status == http.StatusMethodNotAllowed || unserved(x, route.Operation)) {
		route = &routers.Route{Spec: route.Spec, PathItem: &openapi3.PathItem{}, Method: route.Method, Operation: d.refusals}
		described = d.refusals.Responses.Status(x.status)
	}
	if described == nil {
		return errors.New("its status is not described")
	}
	known := make(map[string]bool)
	for name := range described.Value.Headers {
		known[http.CanonicalHeaderKey(name)] = true
	}
	for name := range x.header {
		if !everywhere[name] && !known[name] {
			return fmt.Errorf("its header %s is not described", name)
		}
	}
	if len(described.Value.Content) == 0 && len(x.body) > 0 {
		return errors.New("it has a body")
	}
	if strings.HasPrefix(x.header.Get("Content-Type"), "text/event-stream") {
		return checkEvents(x.body, route.Spec)
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: &http.Request{Method: route.Method}, Route: route},
		Status:                 x.status, Header: x.header, Body: io.NopCloser(bytes.NewReader(x.body)),
		Options: &openapi3filter.Options{ExcludeResponseBody: x.partial || x.request.Method == http.MethodHead},
	})
}

// checkEvents checks the data of each event of a stream. It returns the first
// error.
func checkEvents(stream []byte, doc *openapi3.T) error {
	schema := ""
	for line := range strings.Lines(string(stream)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			if schema = eventSchemas[value]; schema == "" {
				return fmt.Errorf("an event %s", value)
			}
		case "data":
			var data any
			if err := json.Unmarshal([]byte(value), &data); err != nil {
				return fmt.Errorf("the data of an event: %w", err)
			}
			if err := doc.Components.Schemas[schema].Value.VisitJSON(data, openapi3.EnableJSONSchema2020()); err != nil {
				return fmt.Errorf("the data of an event: %w", err)
			}
		}
	}
	return nil
}

// eventSchemas are those of the data of events, which the description names in
// words.
var eventSchemas = map[string]string{"changed": "Event", "deleted": "Event", "resync": "Event", "incomplete": "Event", "end": "Error"}
