package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// mappingEntries returns the entries of node if it is a mapping.
func mappingEntries(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

// firstLine is the line where node begins: a mapping's own token is the colon
// after its first key.
func firstLine(node ast.Node) int {
	if entries, ok := mappingEntries(node); ok && len(entries) > 0 {
		return entries[0].Key.GetToken().Position.Line
	}
	return node.GetToken().Position.Line
}

func describeNode(node ast.Node) string {
	switch node.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.IntegerType:
		return "a number"
	case ast.FloatType, ast.InfinityType, ast.NanType:
		return "a fraction"
	case ast.BoolType:
		return "true or false"
	case ast.StringType, ast.LiteralType:
		return "text"
	case ast.NullType:
		return "nothing"
	case ast.AliasType:
		return "an alias of nothing"
	case ast.TagType:
		return "a tag"
	default:
		return "this"
	}
}

func describeType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration"
	case reflect.TypeFor[Size]():
		return "a size"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	default:
		return "text"
	}
}

// didYouMean names the key that is written most like the unknown one, if any is.
func didYouMean(unknown string, known map[string]reflect.Value) string {
	best, distance := "", 3
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if d := editDistance(unknown, key); d < distance && d < len(key) {
			best, distance = key, d
		}
	}
	if best == "" {
		return fmt.Sprintf(": the keys here are %s", joinWords(slices.Sorted(maps.Keys(known))))
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// editDistance is Levenshtein's: how many letters to add, drop or change.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
