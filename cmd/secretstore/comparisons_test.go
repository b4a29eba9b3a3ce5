package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// plainComparisons are the files of the server that compare bytes in a time that
// depends on them, and why nobody who can measure the time gains by it.
var plainComparisons = map[string]string{
	"seal/pgp/file.go":                   "digests of what this process has just written",
	"seal/shares/shares.go":              "the encoding of one share with itself",
	"seal/internal/holders/authentic.go": "records as they are stored, which are not secret",
	"seal/internal/backup/make.go":       "the record of the holders, which is public",
	"seal/internal/lifecycle/peers.go":   "announcements, which are public",
	"seal/internal/lifecycle/apply.go":   "digests, both computed by this process",
}

// TestSecretsAreComparedInConstantTime finds comparisons of bytes, and == on
// what is named like a secret, in the packages that have secrets in their hands.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	const root = "../.."
	secret := regexp.MustCompile(`(?i)^(mac|hmac|tag|secret|share|unsealKey|rootKey)$`)
	files, found := token.NewFileSet(), make(map[string]bool)
	for _, folder := range []string{"acl", "api", "seal"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "sealtest") {
				return err
			}
			parsed, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			ast.Inspect(parsed, func(n ast.Node) bool {
				if comparesPlainly(n, secret) {
					found[name] = true
					if plainComparisons[name] == "" {
						t.Errorf("%s: use subtle.ConstantTimeCompare or hmac.Equal", files.Position(n.Pos()))
					}
				}
				return true
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range plainComparisons {
		if !found[name] {
			t.Errorf("%s compares nothing: remove it from the list", name)
		}
	}
}

func comparesPlainly(n ast.Node, secret *regexp.Regexp) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, _ := f.X.(*ast.Ident)
		return pkg != nil && (pkg.Name == "bytes" && (f.Sel.Name == "Equal" || f.Sel.Name == "Compare") ||
			pkg.Name == "reflect" && f.Sel.Name == "DeepEqual")
	case *ast.BinaryExpr:
		return (n.Op == token.EQL || n.Op == token.NEQ) && isNamed(n.X, secret) && isNamed(n.Y, secret)
	}
	return false
}

func isNamed(e ast.Expr, pattern *regexp.Regexp) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return pattern.MatchString(e.Name)
	case *ast.SelectorExpr:
		return pattern.MatchString(e.Sel.Name)
	}
	return false
}
