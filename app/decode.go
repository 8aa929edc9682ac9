package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"aldaba/auth"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder fills a struct from YAML and goes on after a fault, so that all of
// them are told at once. It walks the syntax tree itself: the library's own
// decoder stops at the first, and quotes the lines around it, secrets included.
type decoder struct {
	origins origins
	anchors map[string]ast.Node
	faults  faults
}

// decodeYAML fills v, a pointer to a struct or slice that holds the defaults, from text.
func decodeYAML(file string, text []byte, v any) (origins, faults) {
	d := &decoder{origins: newOrigins(file), anchors: make(map[string]ast.Node)}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return d.origins, faults{syntaxFault(file, err)}
	}
	for i, doc := range tree.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case i > 0:
			d.fault("", doc.Body, "only one document per file: remove what follows `---`")
		default:
			d.value(doc.Body, reflect.ValueOf(v).Elem(), "")
		}
	}
	return d.origins, d.faults
}

func syntaxFault(file string, err error) fault {
	f := fault{origin: origin{file: file}, reason: "not YAML"}
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		f.origin.line = syntax.Token.Position.Line
		f.reason = "not YAML: " + syntax.Message
	}
	return f
}

func (d *decoder) fault(path string, at ast.Node, format string, args ...any) {
	line := at.GetToken().Position.Line
	d.faults = append(d.faults, fault{
		origin: origin{file: d.origins.file, line: line},
		path:   path,
		reason: fmt.Sprintf(format, args...),
	})
}

// value fills v from node. What is null keeps its default.
func (d *decoder) value(node ast.Node, v reflect.Value, path string) {
	node = d.resolve(node)
	if node.Type() == ast.NullType {
		return
	}
	switch {
	case isScalar(v.Type()):
		d.scalar(node, v, path)
	case v.Kind() == reflect.Struct:
		d.mapping(node, v, path)
	case v.Kind() == reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(node, p.Elem(), path)
		v.Set(p)
	case v.Kind() == reflect.Slice:
		d.sequence(node, v, path)
	case v.Kind() == reflect.Map:
		d.claims(node, v, path)
	}
}

// resolve looks through `&name` and `*name`.
func (d *decoder) resolve(node ast.Node) ast.Node {
	for range 100 { // an alias may stand for itself
		switch n := node.(type) {
		case *ast.AnchorNode:
			d.anchors[n.Name.String()] = n.Value
			node = n.Value
		case *ast.AliasNode:
			target, ok := d.anchors[n.Value.String()]
			if !ok {
				return node
			}
			node = target
		default:
			return node
		}
	}
	return node
}

func (d *decoder) scalar(node ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(node, v)
	if !ok {
		hint := ""
		if v.Kind() == reflect.String && node.Type() != ast.MappingType && node.Type() != ast.SequenceType {
			hint = ": put it in quotes"
		}
		d.fault(path, node, "must be %s, not %s%s", describeType(v.Type()), describeNode(node), hint)
		return
	}
	if err := setText(v, text); err != nil {
		d.fault(path, node, "%s", err.Error())
	}
}

// scalarText is the written form of node if it suits v.
func scalarText(node ast.Node, v reflect.Value) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, v.Kind() == reflect.String || v.Kind() == reflect.Int64
	case *ast.LiteralNode:
		return n.Value.Value, v.Kind() == reflect.String
	case *ast.IntegerNode:
		return n.Token.Value, v.Kind() == reflect.Int || v.Kind() == reflect.Int64
	case *ast.BoolNode:
		return fmt.Sprint(n.Value), v.Kind() == reflect.Bool
	default:
		return "", false
	}
}

func (d *decoder) mapping(node ast.Node, v reflect.Value, path string) {
	entries, ok := mappingEntries(node)
	if !ok {
		d.fault(path, node, "must be a mapping of keys, not %s", describeNode(node))
		return
	}
	fields := fieldsOf(v)
	for _, entry := range entries {
		key := entry.Key.GetToken().Value
		at := joinPath(path, key)
		field, ok := fields[key]
		if !ok {
			d.fault(at, entry.Key, "unknown key%s", didYouMean(key, fields))
			continue
		}
		d.origins.of[at] = origin{file: d.origins.file, line: entry.Key.GetToken().Position.Line}
		d.value(entry.Value, field, at)
	}
}

func (d *decoder) sequence(node ast.Node, v reflect.Value, path string) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fault(path, node, "must be a list, not %s", describeNode(node))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(list.Values)))
	for i, item := range list.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.origins.of[at] = origin{file: d.origins.file, line: firstLine(item)}
		v.Set(reflect.Append(v, newElement(v.Type().Elem())))
		if item.Type() == ast.NullType {
			d.fault(at, item, "is empty")
			continue
		}
		d.value(item, v.Index(i), at)
	}
}

// claims fills a map[string]any as auth's claims are: numbers are json.Number.
func (d *decoder) claims(node ast.Node, v reflect.Value, path string) {
	entries, ok := mappingEntries(node)
	if !ok {
		d.fault(path, node, "must be a mapping of claims, not %s", describeNode(node))
		return
	}
	m := make(map[string]any, len(entries))
	for _, entry := range entries {
		key := entry.Key.GetToken().Value
		m[key] = d.claim(entry.Value, joinPath(path, key))
	}
	v.Set(reflect.ValueOf(m))
}

func (d *decoder) claim(node ast.Node, path string) any {
	node = d.resolve(node)
	if entries, ok := mappingEntries(node); ok {
		m := make(map[string]any, len(entries))
		for _, entry := range entries {
			key := entry.Key.GetToken().Value
			m[key] = d.claim(entry.Value, joinPath(path, key))
		}
		return m
	}
	switch n := node.(type) {
	case *ast.SequenceNode:
		list := make([]any, len(n.Values))
		for i, item := range n.Values {
			list[i] = d.claim(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return list
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.NullNode:
		return nil
	case *ast.IntegerNode:
		return json.Number(fmt.Sprint(n.Value))
	case *ast.FloatNode:
		return json.Number(fmt.Sprint(n.Value))
	default:
		d.fault(path, node, "a claim cannot be %s", describeNode(node))
		return nil
	}
}

// newElement is a list's next entry, with its defaults.
func newElement(t reflect.Type) reflect.Value {
	if t == reflect.TypeFor[auth.Issuer]() {
		return reflect.ValueOf(newIssuer())
	}
	return reflect.Zero(t)
}

// fieldsOf returns the fields of the struct v by their YAML names.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value, v.NumField())
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("yaml")] = v.Field(i)
	}
	return fields
}

func joinPath(path, key string) string {
	return strings.TrimPrefix(path+"."+key, ".")
}
