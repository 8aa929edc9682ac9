package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is s with every character that could steer a terminal written as
// JSON would write it. Valid JSON stays the same JSON.
func printable(s string) string {
	if !strings.ContainsFunc(s, steers) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// steers reports whether a terminal obeys r instead of showing it: C0, C1, DEL,
// and what turns the direction of writing.
func steers(r rune) bool {
	return unicode.IsControl(r) || r <= 0xffff && unicode.Is(unicode.Bidi_Control, r)
}
