package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"aldaba/auth"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func readConfigFile(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConfigFileHasTheDefaults holds the commented file against the code.
func TestConfigFileHasTheDefaults(t *testing.T) {
	got := Config{}
	_, all := decodeYAML("config.yaml", []byte(readConfigFile(t)), &got)
	if len(all) > 0 {
		t.Fatal(all)
	}
	if diff := cmp.Diff(defaultConfig(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("config.yaml is not the defaults (-code +file):\n%s", diff)
	}
}

// withExamples is config.yaml with the examples of its lists taken at their word.
func withExamples(text string) string {
	text = regexp.MustCompile(`(?m)^( *(?:issuers|channels|publishers):) \[\]`).ReplaceAllString(text, "$1")
	return regexp.MustCompile(`(?m)^#(  .*)$`).ReplaceAllString(text, "$1")
}

func TestConfigFileNamesEveryKey(t *testing.T) {
	text := withExamples(readConfigFile(t))
	got := Config{}
	from, all := decodeYAML("config.yaml", []byte(text), &got)
	if len(all) > 0 {
		t.Fatal(all)
	}
	for _, key := range keysOf(reflect.TypeFor[Config](), "") {
		at, ok := from.of[key]
		if !ok {
			t.Errorf("config.yaml does not name %s", key)
			continue
		}
		line := strings.Split(text, "\n")[at.line-1]
		if strings.HasSuffix(strings.TrimSpace(line), ":") {
			continue // a heading
		}
		if !strings.Contains(line, " # ") {
			t.Errorf("config.yaml:%d: %s has no comment", at.line, key)
		}
	}
	if diff := cmp.Diff([]auth.Issuer{newIssuer()}, got.Auth.Issuers); diff != "" {
		t.Errorf("the example of an issuer is not the defaults (-code +file):\n%s", diff)
	}
}

// keysOf returns the path of every key below t, of lists those of the first entry.
func keysOf(t reflect.Type, path string) []string {
	switch {
	case isScalar(t):
		return []string{path}
	case t.Kind() == reflect.Pointer:
		return keysOf(t.Elem(), path)
	case t.Kind() == reflect.Slice && isScalar(t.Elem()):
		return []string{path}
	case t.Kind() == reflect.Slice:
		return append([]string{path}, keysOf(t.Elem(), path+"[0]")...)
	}
	var all []string
	for f := range t.Fields() {
		all = append(all, keysOf(f.Type, joinPath(path, f.Tag.Get("yaml")))...)
	}
	return all
}
