package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a file. The parser takes time with the square of the nesting (17 s
// for 64 KiB of `[`), and aliases can stand for more than memory holds.
const (
	maxText    = 256 << 10 // bytes
	maxNesting = 100       // flow brackets, or `-` in one line; levels of claims
	maxValues  = 100_000   // values and faults, each as often as an alias repeats it
)

// parseYAML returns the syntax tree of text, or why there is none.
func parseYAML(file string, text []byte) (tree *ast.File, wrong *fault) {
	refuse := func(line int, reason string) *fault {
		return &fault{origin: origin{file: file, line: line}, reason: reason}
	}
	defer func() {
		if recover() != nil { // not every file that is no YAML was foreseen by the library
			tree, wrong = nil, refuse(0, "not YAML")
		}
	}()
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors begin with it
	if line, reason := unreadable(text); reason != "" {
		return nil, refuse(line, reason)
	}
	tokens := lexer.Tokenize(string(text))
	if line := tooDeep(tokens); line > 0 {
		return nil, refuse(line, fmt.Sprintf("nested too deeply: at most %d brackets, or hyphens in one line", maxNesting))
	}
	// What is said twice is for the decoder to report, with all the rest.
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok && syntax.Token != nil {
		return nil, refuse(syntax.Token.Position.Line, "not YAML: "+printable(syntax.Message))
	}
	if err != nil {
		return nil, refuse(0, "not YAML")
	}
	return tree, nil
}

// unreadable says what in text can be no YAML at all, and in which line.
func unreadable(text []byte) (line int, reason string) {
	if len(text) > maxText {
		return 0, fmt.Sprintf("too large: %v, at most %v", Size(len(text)), Size(maxText))
	}
	line = 1
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, "not UTF-8: save the file in that encoding"
		case r == '\n':
			line++
		case unicode.IsControl(r) && !strings.ContainsRune("\t\r\u0085", r):
			return line, fmt.Sprintf("the character %U is not text: remove it", r)
		}
		text = text[size:]
	}
	return 0, ""
}

// tooDeep returns the line in which tokens nest too deeply for the parser, or 0.
// Indentation needs no bound: its depth costs the square in bytes.
func tooDeep(tokens token.Tokens) int {
	brackets, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		default:
		}
		if brackets+entries > maxNesting {
			return line
		}
	}
	return 0
}

// keyOf is the written form of an entry's key, and where it stands.
func keyOf(entry *ast.MappingValueNode) (string, ast.Node) {
	var key ast.Node = entry.Key
	if question, ok := key.(*ast.MappingKeyNode); ok { // `? key`
		key = question.Value
	}
	return key.GetToken().Value, key
}

// shownKey is as much of an unknown key as may be told: with a blank forgotten
// after its colon (`secret:hunter2`), a key ends in its value.
func shownKey(key string) string {
	const longest = 40
	if key == "" {
		return `""`
	}
	name := strings.TrimLeftFunc(key, func(r rune) bool {
		return strings.ContainsRune("_-.<", r) || unicode.IsLetter(r) || unicode.IsDigit(r)
	})
	if name == "" && len(key) <= longest {
		return key
	}
	name = key[:len(key)-len(name)]
	for len(name) > longest {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name + "…"
}
