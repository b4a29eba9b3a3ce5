package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	commands = "cmd/secretstore/internal/cli"
	parts    = "seal/internal"
)

// mayImport says which packages of this module the ones below a folder may use,
// besides others in the same folder. The longest folder that fits counts.
var mayImport = map[string][]string{
	"acl":           {},
	"acl/token":     {"acl", "internal/textfile", "internal/watchfile"},
	"iam":           {"acl"},
	"iam/iamtest":   {"iam", "store"},
	"iam/authority": {"acl", "iam", "internal/clientnet", "internal/watchfile"},
	"iam/tokens":    {"acl", "iam"},
	"iam/oidc":      {"iam"},
	"iam/sessions":  {"iam"},
	"store":         {},
	"seal":          {"acl", "iam", "store"}, // of acl its Path, of iam what it needs of a storage
	"seal/envelope": {},
	"seal/pgp":      {"internal/textfile"},
	"seal/sealtest": {"seal/pgp"},
	"seal/shares":   {"seal/envelope"},
	// The parts of seal import each other downwards only.
	parts + "/handover":     {"seal/envelope"},
	parts + "/mode":         {"seal/envelope"},
	parts + "/restored":     {"seal/envelope"},
	parts + "/barrier":      {"internal/scrub", "acl", parts + "/handover", "seal/envelope", "store"},
	parts + "/bootstrapkey": {"internal/atomicfile", parts + "/barrier", "seal/pgp", "store"},
	parts + "/holders":      {"internal/scrub", parts + "/barrier", "seal/envelope", "seal/pgp", "seal/shares"},
	parts + "/lifecycle":    {"internal/scrub", parts + "/barrier", parts + "/bootstrapkey", parts + "/handover", parts + "/holders", parts + "/mode", parts + "/restored", "seal/envelope", "seal/pgp", "seal/shares", "store"},
	parts + "/records":      {"acl", parts + "/barrier", "seal/envelope", "store"},
	parts + "/names":        {"acl", parts + "/barrier", "store"},
	parts + "/feed":         {"acl", parts + "/barrier", parts + "/names", parts + "/records", "store"},
	parts + "/identities":   {"iam", parts + "/barrier", "seal/envelope", "store"},
	parts + "/rotation":     {"acl", parts + "/barrier", parts + "/identities", parts + "/names", parts + "/records", "seal/envelope", "store"},
	parts + "/uses":         {parts + "/barrier", "store"},
	parts + "/backup":       {"iam", "internal/atomicfile", "seal/pgp", parts + "/barrier", parts + "/bootstrapkey", parts + "/holders", parts + "/identities", parts + "/restored", "seal/envelope", "store"},
	"api":                   {"acl", "iam", "seal", "store", "internal/clientnet", "internal/connections", "internal/framing", "internal/hostport", "internal/lastanswer"}, // of store its errors and Consistency, which pass through seal
	"api/audit":             {"api/internal/rates", "internal/atomicfile", "internal/clientnet"},
	"api/client":            {"api/wire", "internal/fingerprint"},
	"api/definition":        {"acl"},
	"api/wire":              {},
	"web":                   {"acl", "api", "internal/clientnet", "internal/connections", "internal/framing", "internal/lastanswer", "internal/linediff"},
	"internal":              {},
	"cmd/secretstore":       {"acl", "api", "iam", "seal", "store", "web", "internal"},
	// The commands import each other downwards only.
	commands + "/base":    {"acl", "api", "seal/pgp", "internal", "cmd/secretstore/internal/config"},
	commands + "/gpg":     {commands + "/base"},
	commands + "/fleet":   {"api", "internal", "cmd/secretstore/internal/config", commands + "/base"},
	commands + "/storage": {"seal", "store", "cmd/secretstore/internal/config", "cmd/secretstore/internal/offline", "cmd/secretstore/internal/server", "internal", commands + "/base", commands + "/gpg"},
	commands + "/backups": {"acl", "api", "seal", "store", "internal", "cmd/secretstore/internal/config", "cmd/secretstore/internal/forms", "cmd/secretstore/internal/offline", commands + "/base", commands + "/bulk", commands + "/gpg", commands + "/storage"},
	commands + "/keys":    {commands + "/storage", "acl", "api", "seal", "store", "internal", "cmd/secretstore/internal/config", "cmd/secretstore/internal/offline", "cmd/secretstore/internal/server", "cmd/secretstore/internal/version", commands + "/base", commands + "/fleet", commands + "/gpg"},
	commands + "/people":  {"acl", "api", "iam", "store", "cmd/secretstore/internal/config", "cmd/secretstore/internal/grantfile", commands + "/base"},
	commands + "/secrets": {"acl", "api", "internal/linediff", "seal", commands + "/base"},
	commands + "/tasks":   {"acl", "api", "cmd/secretstore/internal/deliver", "cmd/secretstore/internal/forms", "cmd/secretstore/internal/supervise", commands + "/base"},
	commands + "/bulk":    {"acl", "api", "seal", "internal", "cmd/secretstore/internal/forms", "cmd/secretstore/internal/offline", commands + "/base", commands + "/migrate"},
	commands + "/migrate": {"acl", "api", "internal", "store", "cmd/secretstore/internal/config", "cmd/secretstore/internal/forms", commands + "/base", commands + "/gpg"},
	"scripts":             {"acl", "api", "iam", "seal", "store", "internal"},
}

// TestImportsGoOneWay checks that imports go from cmd to api to seal to store, and that
// acl imports none of them.
func TestImportsGoOneWay(t *testing.T) {
	const root, module = "../..", "secretstore/"
	files := 0
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		files++
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, allowed := ruleOf(dir)
		if folder == "" {
			t.Errorf("%s: no rule says what it may import", dir)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if used, ours := strings.CutPrefix(path, module); ours && !below(used, folder) && !belowAny(used, allowed) {
				t.Errorf("%s imports %s", name, used)
			} else if ours && belowAny(used, testOnly) && !belowAny(dir, testOnly) {
				t.Errorf("%s imports %s, which is for tests", name, used)
			}
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}

// testOnly are packages with private keys that everybody can read, and helpers. Only test
// files and these packages themselves import them.
var testOnly = []string{"seal/sealtest", "internal/vault/vaulttest", "cmd/secretstore/internal/fixture", "cmd/secretstore/internal/webtest"}

func ruleOf(dir string) (folder string, allowed []string) {
	for f, a := range mayImport {
		if below(dir, f) && len(f) > len(folder) {
			folder, allowed = f, a
		}
	}
	return folder, allowed
}

func below(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

func belowAny(dir string, folders []string) bool {
	for _, f := range folders {
		if below(dir, f) {
			return true
		}
	}
	return false
}
