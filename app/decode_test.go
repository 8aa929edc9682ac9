package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bombs are files of a few bytes that stand for more than memory or time holds.
func bombs() map[string]string {
	laughs := strings.Builder{}
	laughs.WriteString("- claims:\n    a0: &a0 [lol]\n")
	for i := range 60 {
		fmt.Fprintf(&laughs, "    a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	chain := strings.Builder{}
	chain.WriteString("- claims:\n    a0: &a0 lol\n")
	for i := range 2000 {
		fmt.Fprintf(&chain, "    a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	unknown := strings.Builder{}
	unknown.WriteString("- &c {")
	for i := range 3000 {
		fmt.Fprintf(&unknown, "k%d: 1, ", i)
	}
	return map[string]string{
		"a billion laughs":        laughs.String(),
		"a long chain":            chain.String(),
		"a list in itself":        "- claims: {a: &a [*a, *a]}\n",
		"a mapping in itself":     "- claims: &a {a: *a, b: *a}\n",
		"unknown keys, repeated":  unknown.String() + "}\n" + strings.Repeat("- *c\n", 3000),
		"keys said twice":         "- &c {" + strings.Repeat("name: a, ", 3000) + "}\n" + strings.Repeat("- *c\n", 3000),
		"deep brackets":           strings.Repeat("[", maxText),
		"deep braces":             strings.Repeat("{a: ", maxText/4),
		"deep hyphens":            strings.Repeat("- ", maxText/2),
		"deep question marks":     strings.Repeat("? ", maxText/2),
		"deep claims":             "- claims: {a: " + strings.Repeat("[", 99) + strings.Repeat("]", 99) + "}\n",
		"more than a file can be": strings.Repeat("- {}\n", maxText),
	}
}

func TestDecodeOutlivesBombs(t *testing.T) {
	for name, text := range bombs() {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			var all []policyCase
			_, found := decodeYAML("cases.yaml", []byte(text), &all)
			if len(found) == 0 {
				t.Error("no fault")
			}
			if len(found) > maxValues+1 {
				t.Errorf("%d faults", len(found))
			}
			if took := time.Since(began); took > patience {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestDecodeOfABombEndsInOneFault(t *testing.T) {
	text := bombs()["a billion laughs"]
	var all []policyCase
	_, found := decodeYAML("cases.yaml", []byte(text), &all)
	want := "too many values, or nested too deeply: write out what aliases (`*name`) repeat"
	if len(found) != 1 || found[0].reason != want || found[0].origin.line == 0 {
		t.Errorf("got %v", found)
	}
}

func TestDecodeClaims(t *testing.T) {
	const text = `- name: every kind of claim
  claims: &c
    sub: anna
    admin: true
    level: 7
    ratio: 1.5
    nothing: null
    text: |
      two
      lines
    nested: {list: [a, 1, {b: c}]}
- claims: *c
`
	var got []policyCase
	if _, found := decodeYAML("cases.yaml", []byte(text), &got); len(found) > 0 {
		t.Fatal(found)
	}
	want := map[string]any{
		"sub": "anna", "admin": true, "level": json.Number("7"), "ratio": json.Number("1.5"), "nothing": nil,
		"text":   "two\nlines\n",
		"nested": map[string]any{"list": []any{"a", json.Number("1"), map[string]any{"b": "c"}}},
	}
	for i := range got {
		if diff := cmp.Diff(want, got[i].Claims); diff != "" {
			t.Errorf("case %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestDecodeFaultsOfClaims(t *testing.T) {
	const text = `- claims: [a]
- claims:
    a: .inf
    a: 2
    b: {c: !!binary aGk=, "\e[2J": .nan}
`
	var got []policyCase
	_, found := decodeYAML("cases.yaml", []byte(text), &got)
	want := []string{
		"cases.yaml:1: [0].claims: must be a mapping of claims, not a list",
		"cases.yaml:3: [1].claims.a: a claim cannot be a fraction",
		"cases.yaml:4: [1].claims.a: said twice: the first is in line 3, remove one",
		"cases.yaml:5: [1].claims.b.c: a claim cannot be a tag",
		"cases.yaml:5: [1].claims.b.…: a claim cannot be a fraction",
	}
	if diff := cmp.Diff(want, strings.Split(found.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
