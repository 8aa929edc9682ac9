package auth

import (
	"net/url"
	"strings"
	"testing"
	"testing/quick"
)

func TestValidChannel(t *testing.T) {
	for name, want := range map[string]bool{
		"user:42": true, "a": true, ":": true, "a::b": true, "aldaba": true, "Aldaba:x": true, "x:aldaba:y": true,
		"AZaz09_.:@#/|+=~-%":     true,
		strings.Repeat("x", 255): true,

		"": false, "aldaba:": false, "aldaba:x": false, strings.Repeat("x", 256): false,
		"user:*": false, "user:?": false, "user:[u]0": false, "user:{sub}": false, "a b": false, "a\n": false, "a\x00": false,
		"ñ": false, "a\\b": false, "a,b": false, "a\"b": false, "\xff": false, "\x7f": false,
	} {
		if got := ValidChannel(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

func TestEscapeIsInjectiveAndReversible(t *testing.T) {
	there := func(value string) bool {
		text := escape(value)
		back, err := url.PathUnescape(text)
		return err == nil && back == value && consistsOf(text, inChannel) && !strings.Contains(text, ":")
	}
	if err := quick.Check(there, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	for b := range 256 {
		if !there(string([]byte{byte(b)})) {
			t.Errorf("byte %d: %q", b, escape(string([]byte{byte(b)})))
		}
	}
}
