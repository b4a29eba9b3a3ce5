package docs_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile     = "../deploy/prometheus/secretstore.rules.yml"
	ruleTestsFile = "../deploy/prometheus/secretstore.test.yml"
	dashboardFile = "../deploy/grafana/secretstore.json"
)

// alert is one rule of the file.
type alert struct {
	Alert, Expr string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Groups) != 1 || len(file.Groups[0].Rules) < 15 {
		t.Fatalf("%d groups, %v", len(file.Groups), err)
	}
	return file.Groups[0].Rules
}

// dashboardQueries returns the queries of all panels.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d queries were found", len(all))
	}
	return all
}

// TestEachAlertHasItsSection compares the rules with the operators' guide.
func TestEachAlertHasItsSection(t *testing.T) {
	_, section, _ := strings.Cut(pages(t)["docs/operators-guide.md"], "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	described := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(section, -1) {
		described[m[1]] = true
	}
	for _, a := range alerts(t) {
		if !described[a.Alert] {
			t.Errorf("%s has no section", a.Alert)
		}
		delete(described, a.Alert)
		if want := "docs/operators-guide.md#" + strings.ToLower(a.Alert); a.Annotations["runbook"] != want {
			t.Errorf("%s: the runbook is %q, want %q", a.Alert, a.Annotations["runbook"], want)
		}
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", a.Alert)
		}
	}
	for name := range described {
		t.Errorf("there is no alert %s", name)
	}
}

// TestQueriesNameMetricsThatExist: those of alerts and of the dashboard. Those of
// the libraries are in TestEachAlertIsFiredByItsFault, with real samples.
func TestQueriesNameMetricsThatExist(t *testing.T) {
	inCode := make(map[string]bool)
	for _, m := range regexp.MustCompile(`"(secretstore_[a-z_]+)"`).FindAllStringSubmatch(sources(t), -1) {
		inCode[m[1]] = true
	}
	queries := dashboardQueries(t)
	for _, a := range alerts(t) {
		queries = append(queries, a.Expr)
	}
	named := regexp.MustCompile(`\b(?:secretstore|go|process)_[a-z_]+\b`)
	parts := regexp.MustCompile(`_(bucket|sum|count)$`)
	code := sources(t)
	endpoints := regexp.MustCompile(`endpoint[!=]~?"([^"]+)"`)
	for _, q := range queries {
		for _, m := range endpoints.FindAllStringSubmatch(q, -1) {
			for name := range strings.SplitSeq(m[1], "|") {
				if !strings.Contains(code, `{name: "`+name+`", method`) {
					t.Errorf("%s: there is no endpoint %s", q, name)
				}
			}
		}
		found := named.FindAllString(q, -1)
		if len(found) == 0 && !strings.Contains(q, "up{") {
			t.Errorf("%s: no metric", q)
		}
		for _, name := range found {
			if strings.HasPrefix(name, "secretstore_") && !inCode[name] && !inCode[parts.ReplaceAllString(name, "")] {
				t.Errorf("%s: there is no metric %s", q, name)
			}
		}
	}
}

// TestAlertRules has promtool check the rules, and run their tests. Each rule has
// one.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", filepath.Base(rulesFile)},
		{"test", "rules", filepath.Base(ruleTestsFile)},
	} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Dir(rulesFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool (of the Debian package prometheus; see scripts/test-deps) %q: %v\n%s", args, err, out)
		}
	}
	tests, err := os.ReadFile(ruleTestsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if !strings.Contains(string(tests), "alertname: "+a.Alert+"\n") {
			t.Errorf("%s has no test", a.Alert)
		}
	}
}
