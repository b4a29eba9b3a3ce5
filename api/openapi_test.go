package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"secretstore/acl"
	"secretstore/api/internal/head"
	"secretstore/api/wire"
)

// description returns the document as servers send it.
func description(t *testing.T) *openapi3.T {
	t.Helper()
	raw, err := openAPIAsJSON()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDescriptionIsValidOpenAPI(t *testing.T) {
	doc := description(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("it is OpenAPI %s", doc.OpenAPI)
	}
}

// describedPaths returns the paths that the description has for a row of the
// table of endpoints.
func describedPaths(ep *endpoint) []string {
	if ep.root {
		return []string{ep.path}
	}
	path, isPrefix := strings.CutSuffix(wire.BasePath+ep.path, "/")
	switch {
	case !isPrefix:
		return []string{path}
	case ep.op == acl.ListSecrets: // that of the root, too
		return []string{path + "/{store}/{path}", path + "/{store}"}
	}
	return []string{path + "/{store}/{path}"}
}

func TestTheDescriptionHasExactlyTheEndpoints(t *testing.T) {
	doc := description(t)
	described := make(map[string]*openapi3.Operation)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			op.Parameters = append(op.Parameters, item.Parameters...)
			described[method+" "+path] = op
		}
	}
	rows := make(map[string][]*endpoint)
	for _, ep := range endpoints(&handlers{}) {
		for _, path := range describedPaths(ep) {
			rows[ep.method+" "+path] = append(rows[ep.method+" "+path], ep)
		}
	}
	for name, op := range described {
		if rows[name] == nil {
			t.Errorf("%s is described, and is not in the table of endpoints", name)
			continue
		}
		checkOperation(t, name, op, rows[name])
	}
	for name := range rows {
		if described[name] == nil {
			t.Errorf("%s is not described in openapi.yaml", name)
		}
	}
}

// permissions are the words of a description for what the policy is asked.
var permissions = map[acl.Op]string{
	acl.ReadSecret:     "`read` on `dcos:secrets:default:/{path}`",
	acl.ReadVersions:   "`read` on `dcos:secrets:default:/{path}`",
	acl.CreateSecret:   "`create` on `dcos:secrets:default:/{path}`",
	acl.UpdateSecret:   "`update` on `dcos:secrets:default:/{path}`",
	acl.DeleteSecret:   "`delete` on `dcos:secrets:default:/{path}`",
	acl.ListSecrets:    "`read` on `dcos:secrets:list:default:/",
	acl.SearchNames:    "`read` on `dcos:secrets:list:default:/",
	acl.WatchNames:     "`read` on `dcos:secrets:list:default:/",
	acl.ResolveSecrets: "`read` on `dcos:secrets:resolve:default:{service}`",
	acl.MintTaskToken:  "`read` on `dcos:secrets:resolve:default:{service}`",
	acl.ViewStore:      "Permission: any token that is not bound to a service.",
	acl.Administer:     "Permission: superuser.",
	acl.MakeBackup:     "`read` on `dcos:secrets:backup:default`",
	acl.UseAccount:     "Permission: superuser, or the account itself.",
	acl.QueryPolicy:    "Permission: `read` on `dcos:iam:policyquery`.",
	acl.ViewMode:       "Permission: `full` on `dcos:adminrouter:ops:metadata`.",
}

var parameterOfForm = map[head.Form]string{
	head.FormList: "list", head.FormVersion: "version", head.FormVersions: "versions", head.FormPurge: "purge", head.FormWatch: "watch",
	head.FormDeleted: "deleted", head.FormKey: "bootstrap_key",
	head.FormSearch: "search", head.FormChildren: "children",
}

// checkOperation compares an operation with its rows of the table of endpoints.
func checkOperation(t *testing.T, name string, op *openapi3.Operation, rows []*endpoint) {
	t.Helper()
	behalf := false
	statuses := []int{http.StatusBadRequest, http.StatusInternalServerError}
	for _, ep := range rows {
		behalf = behalf || ep.behalf
		if form := parameterOfForm[ep.form]; ep.form != 0 && op.Parameters.GetByInAndName("query", form) == nil {
			t.Errorf("%s has no parameter %s", name, form)
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != ep.open {
			t.Errorf("%s: open is %v", name, open)
		}
		if (op.RequestBody != nil) != (ep.body != nil) || ep.body != nil && op.RequestBody.Value.Required == ep.optional {
			t.Errorf("%s: it takes a body: %v, which may be missing: %v", name, ep.body != nil, ep.optional)
		}
		if ep.body != nil {
			statuses = append(statuses, http.StatusRequestEntityTooLarge)
		}
		if !ep.open {
			statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
			if words := permissions[ep.op]; words == "" || !strings.Contains(op.Description, words) {
				t.Errorf("%s does not say %q", name, words)
			}
		}
		if strings.Contains(name, "{store}") {
			statuses = append(statuses, http.StatusNotFound)
		}
	}
	if (op.Parameters.GetByInAndName("header", wire.ServiceHeader) != nil) != behalf {
		t.Errorf("%s: a service can be named: %v", name, behalf)
	}
	for _, status := range statuses {
		if op.Responses.Status(status) == nil {
			t.Errorf("%s lacks the status %d", name, status)
		}
	}
}

// TestTheDescriptionHasTheDocumentsOfPackageWire compares each struct of package
// wire with the schema of its name: the members, and which are always there.
func TestTheDescriptionHasTheDocumentsOfPackageWire(t *testing.T) {
	type members struct{ All, Required []string }
	inCode := make(map[string]members)
	for name, fields := range wireStructs(t) {
		var m members
		for _, field := range fields.List {
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			member, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			m.All = append(m.All, member)
			if options == "" {
				m.Required = append(m.Required, member)
			}
		}
		slices.Sort(m.All)
		slices.Sort(m.Required)
		inCode[name] = m
	}
	described := make(map[string]members)
	for name, schema := range description(t).Components.Schemas {
		if s := schema.Value; s.Properties != nil {
			required := slices.Sorted(slices.Values(s.Required))
			described[name] = members{slices.Sorted(maps.Keys(s.Properties)), required}
		}
	}
	if diff := cmp.Diff(inCode, described); diff != "" {
		t.Errorf("package wire (-) and openapi.yaml (+) differ:\n%s", diff)
	}
}

func wireStructs(t *testing.T) map[string]*ast.FieldList {
	t.Helper()
	files, err := filepath.Glob("wire/*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*ast.FieldList)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					all[spec.Name.Name] = s.Fields
				}
			}
			return true
		})
	}
	if len(all) < 20 {
		t.Fatalf("only %d structs were found", len(all))
	}
	return all
}
