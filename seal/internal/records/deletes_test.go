package records

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOnlyOneFunctionDeletesSecrets: a delete of a secret that does not change the
// delete generation would let an old write replace a new secret. Before you add a
// function here, make sure that it cannot delete a record below barrier.KeySecrets
// other than a folder's.
func TestOnlyOneFunctionDeletesSecrets(t *testing.T) {
	want := map[string]string{
		"records.deleteOps":          "a secret, and changes the delete generation",
		"records.undelete":           "a tombstone",
		"records.purgeOps":           "a tombstone",
		"records.expireRecord":       "a tombstone",
		"barrier.RemoveTree":         "blobs and task tokens",
		"backup.end":                 "the marker of a restore or a move",
		"barrier.RemoveRecord":       "a folder without secrets, a blob, a minute of task tokens",
		"bootstrapkey.Retire":        "the bootstrap key",
		"identities.build":           "a record of the identities, which the index of its bucket then does not name",
		"lifecycle.endHandover":      "the handover record",
		"lifecycle.beginIncarnation": "the record of a restore, once it is followed",
		"lifecycle.removeRekey":      "the rekey record, or the proposal of a rekey",
		"lifecycle.ApproveRekey":     "the proposal of a rekey",
		"lifecycle.putInForce":       "the rekey record",
	}
	got := map[string]string{}
	callers := map[string]string{} // of the two that delete whatever they are given
	err := filepath.WalkDir("../..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				ast.Inspect(decl, func(n ast.Node) bool {
					if isDelete(n) {
						t.Errorf("%s: a delete outside of a function", name)
					}
					return true
				})
				continue
			}
			where := file.Name.Name + "." + fn.Name.Name
			ast.Inspect(fn, func(n ast.Node) bool {
				if isDelete(n) {
					got[where] = want[where]
				}
				if sel, ok := n.(*ast.SelectorExpr); ok && (sel.Sel.Name == "RemoveTree" || sel.Sel.Name == "RemoveRecord") {
					callers[where] = ""
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions that delete records (-want +got):\n%s", diff)
	}
	wantCallers := map[string]string{"barrier.RemoveTree": "", "records.remove": "", "records.removeAt": "", "records.pruneFolder": "", "uses.Collect": ""}
	if !maps.Equal(callers, wantCallers) {
		t.Errorf("functions that remove records through the barrier: %v, want %v", callers, wantCallers)
	}
}

// isDelete reports whether n makes an operation that deletes a record, or could.
func isDelete(n ast.Node) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "store" && (sel.Sel.Name == "Delete" || sel.Sel.Name == "OpDelete")
}
