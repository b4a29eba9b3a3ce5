// Package docs_test checks the Markdown of this repository: its links, the
// files that it names, and its width.
package docs_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const root = ".."

// pages returns the content of every Markdown file by its path below root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(path, ".md"):
			content, err := os.ReadFile(filepath.Join(root, path))
			found[path] = string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["README.md"] == "" || found["docs/architecture.md"] == "" {
		t.Fatal("the pages were not found")
	}
	return found
}

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan  = regexp.MustCompile("`[^`]+`")
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInID   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	ofTheTree = regexp.MustCompile(`^(\.ci|acl|api|cmd|deploy|docs|internal|scripts|seal|store|testdata)(/[\w.*-]+)+/?$`)
)

// anchors returns the ids that GitHub gives to the headings of a page.
func anchors(page string) map[string]bool {
	ids := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		id := notInID.ReplaceAllString(strings.ToLower(strings.ReplaceAll(m[1], "`", "")), "")
		ids[strings.ReplaceAll(id, " ", "-")] = true
	}
	return ids
}

func TestLinksBetweenPagesResolve(t *testing.T) {
	all := pages(t)
	links := 0
	for from, page := range all {
		text := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(page, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := from
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(from), file))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s: %v", from, m[1], err)
			} else if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s: %s: no such heading", from, m[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

func TestFilesThatPagesNameExist(t *testing.T) {
	named := 0
	for in, page := range pages(t) {
		for _, span := range codeSpan.FindAllString(codeBlock.ReplaceAllString(page, ""), -1) {
			name := strings.Trim(span, "`")
			if !ofTheTree.MatchString(name) {
				continue
			}
			named++
			if files, err := filepath.Glob(filepath.Join(root, name)); err != nil || len(files) == 0 {
				t.Errorf("%s: there is no %s", in, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d names of files were found", named)
	}
}

func TestTestsThatPagesNameExist(t *testing.T) {
	code := make(map[string]bool)
	defined := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		for _, m := range defined.FindAllSubmatch(content, -1) {
			code[string(m[1])] = true
		}
		return err
	})
	if err != nil || len(code) < 100 {
		t.Fatalf("%d tests were found, %v", len(code), err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	for in, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(page, -1) {
			if !code[m[1]] && !strings.HasPrefix(in, "CONTRIBUTING") { // which has an example
				t.Errorf("%s: there is no %s", in, m[1])
			}
		}
	}
}

// TestPackagesAreInTheArchitecture takes those with one subject each.
func TestPackagesAreInTheArchitecture(t *testing.T) {
	page := pages(t)["docs/architecture.md"]
	for _, parent := range []string{"api/internal", "cmd/secretstore/internal", "cmd/secretstore/internal/cli", "seal/internal", "store", "store/zk/internal"} {
		entries, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() && e.Name() != "testdata" && !strings.Contains(page, "`"+e.Name()+"`") && !strings.Contains(page, "`"+parent+"/"+e.Name()+"`") {
				t.Errorf("the page does not name %s/%s", parent, e.Name())
			}
		}
	}
}

// TestLibrariesAreExplained compares go.mod with the table in the page on the
// architecture.
func TestLibrariesAreExplained(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(pages(t)["docs/architecture.md"], "## Libraries")
	requires := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`) // those without "// indirect"
	all := requires.FindAllStringSubmatch(string(mod), -1)
	for _, m := range all {
		name := path.Base(regexp.MustCompile(`/v[0-9]+$`).ReplaceAllString(m[1], ""))
		if !regexp.MustCompile(`[| /]` + regexp.QuoteMeta(name) + `[,| /]`).MatchString(table) {
			t.Errorf("%s is not in the table of libraries", m[1])
		}
	}
	if len(all) < 10 {
		t.Errorf("only %d libraries were found", len(all))
	}
}

func TestLinesOfPagesAreAtMost100Wide(t *testing.T) {
	for in, page := range pages(t) {
		for i, line := range strings.Split(page, "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("%s:%d: %d columns", in, i+1, n)
			}
		}
	}
}

// sources returns the Go code of the program, without its tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		all.Write(content)
		return err
	})
	if err != nil || all.Len() < 100_000 {
		t.Fatalf("%d bytes of code were found, %v", all.Len(), err)
	}
	return all.String()
}

// TestTroubleshootingQuotesMessages looks for each message in the code, so that
// the page follows when a message changes.
func TestTroubleshootingQuotesMessages(t *testing.T) {
	code := sources(t)
	quoted := regexp.MustCompile("\\*\\*`([^`]+)`\\*\\*").FindAllStringSubmatch(pages(t)["docs/troubleshooting.md"], -1)
	for _, m := range quoted {
		if !strings.Contains(code, m[1]) {
			t.Errorf("no code has the message %q", m[1])
		}
	}
	if len(quoted) < 15 {
		t.Errorf("only %d messages were found", len(quoted))
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	names := func(text string, pattern string) map[string]bool {
		found := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return found
	}
	inCode := names(sources(t), `"(secretstore_[a-z_]+)"`)
	inPage := names(pages(t)["docs/monitoring.md"], "(?m)^\\| `(secretstore_[a-z_]+)` ")
	for name := range inCode {
		if !inPage[name] {
			t.Errorf("%s is not in docs/monitoring.md", name)
		}
	}
	for name := range inPage {
		if !inCode[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
	if len(inCode) < 10 {
		t.Errorf("only %d metrics were found", len(inCode))
	}
}
