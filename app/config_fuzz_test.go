package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzConfig decodes arbitrary bytes: that never panics, takes bounded time, and
// tells each fault in one line that no terminal obeys. What is without fault can
// be written down again, and is then the same configuration.
func FuzzConfig(f *testing.F) {
	for _, c := range configFaults {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(readConfigFile(f)))
	f.Add([]byte(withExamples(readConfigFile(f))))
	f.Fuzz(func(t *testing.T, text []byte) {
		began := time.Now()
		got := defaultConfig()
		_, all := decodeYAML("config.yaml", text, &got)
		if took := time.Since(began); took > patience {
			t.Fatalf("%v for %d bytes", took, len(text))
		}
		for _, fault := range all {
			if line := fault.String(); printable(line) != line {
				t.Fatalf("%q steers the terminal", line)
			}
		}
		if len(all) > 0 {
			return
		}
		again := encodeYAML(reflect.ValueOf(got))
		if len(again) > maxText {
			return
		}
		second := defaultConfig()
		if _, all := decodeYAML("config.yaml", []byte(again), &second); len(all) > 0 {
			t.Fatalf("%v\n%s", all, again)
		}
		if diff := cmp.Diff(got, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("not the same when written down (-first +second):\n%s\n%s", diff, again)
		}
		if diff := cmp.Diff(judged(got), judged(second)); diff != "" {
			t.Fatalf("not judged the same (-first +second):\n%s", diff)
		}
	})
}

// judged is what is wrong with the values of c, without a look outside.
func judged(c Config) []string {
	for i := range c.Auth.Issuers {
		c.Auth.Issuers[i].SecretFile, c.Auth.Issuers[i].PublicKeyFile, c.Auth.Issuers[i].JWKSURL = "", "", ""
	}
	for i := range c.Publishers {
		c.Publishers[i].KeyFile = ""
	}
	checked, all := check(&settings{Config: c, origins: newOrigins("config.yaml")})
	checked.close()
	lines := make([]string, len(all))
	for i, f := range all {
		lines[i] = f.String()
	}
	return lines
}

// encodeYAML writes v down as YAML.
func encodeYAML(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration, Size:
		return fmt.Sprint(x)
	}
	var items []string
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return encodeYAML(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			items = append(items, v.Type().Field(i).Tag.Get("yaml")+": "+encodeYAML(v.Field(i)))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Slice:
		for i := range v.Len() {
			items = append(items, encodeYAML(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.String:
		return quoteYAML(v.String())
	default:
		return fmt.Sprint(v.Interface())
	}
}

// quoteYAML is s between double quotes (YAML 1.2.2 section 7.3.1).
func quoteYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String() + `"`
}
