package main_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMetricsAreDocumented compares the names of metrics in code with those in
// the operator's page.
func TestMetricsAreDocumented(t *testing.T) {
	inCode := found(t, regexp.MustCompile(`"(aldaba_[a-z_]+)"`), "metrics.go", "server/metrics.go", "../hub/metrics.go", "../hub/broker/metrics.go")
	inDocs := found(t, regexp.MustCompile("(?m)^\\| `(aldaba_[a-z_]+)"), "../docs/operations.md")
	if diff := cmp.Diff(inCode, inDocs); diff != "" {
		t.Errorf("docs/operations.md differs (-code +docs):\n%s", diff)
	}
}

// TestLinksLead follows the links from one page of the repository to another.
func TestLinksLead(t *testing.T) {
	pages := []string{"../README.md", "../SECURITY.md", "../CHANGELOG.md", "../examples/README.md"}
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, docs...) {
		for _, link := range found(t, regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`), page) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), link)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// found returns what the first group of re matches in files, sorted, each once.
func found(t *testing.T, re *regexp.Regexp, files ...string) []string {
	t.Helper()
	matches := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range re.FindAllStringSubmatch(string(text), -1) {
			matches[match[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(matches))
}
