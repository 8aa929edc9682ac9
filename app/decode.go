package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"aldaba/auth"

	"github.com/goccy/go-yaml/ast"
)

// decoder fills a struct from YAML and goes on after a fault, so that all of
// them are told at once. It walks the syntax tree itself: the library's own
// decoder stops at the first, and quotes the lines around it, secrets included.
type decoder struct {
	origins origins
	anchors map[string]ast.Node
	faults  faults

	values int  // so far, each as often as it is repeated
	depth  int  // of the value being read
	spent  bool // there were too many of either
}

// decodeYAML fills v, a pointer to a struct or slice that holds the defaults, from text.
func decodeYAML(file string, text []byte, v any) (origins, faults) {
	d := &decoder{origins: newOrigins(file), anchors: make(map[string]ast.Node)}
	tree, wrong := parseYAML(file, text)
	if wrong != nil {
		return d.origins, faults{*wrong}
	}
	documents := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if documents++; documents > 1 {
			d.fault("", doc.Body, "%s", secondDocument)
			continue
		}
		d.value(doc.Body, reflect.ValueOf(v).Elem(), "")
	}
	return d.origins, d.faults
}

// Faults beside which what was read stands.
const (
	secondDocument = "only one document per file: remove what follows `---`"
	saidTwice      = "said twice"
)

// spoils reports whether f kept the value at path from being read, so that
// there is no use in judging what stands there instead.
func (f fault) spoils(path string) bool {
	switch {
	case f.origin.variable != "", f.reason == secondDocument, strings.HasPrefix(f.reason, saidTwice):
		return false
	case f.path == "":
		return true
	}
	rest, ok := strings.CutPrefix(path, f.path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (d *decoder) fault(path string, at ast.Node, format string, args ...any) {
	line := firstLine(at)
	d.faults = append(d.faults, fault{
		origin: origin{file: d.origins.file, line: line},
		path:   path,
		reason: fmt.Sprintf(format, args...),
	})
}

// enter looks through the anchors and aliases of node. It refuses what repeats or
// nests without end, and from then on everything: one fault says enough.
func (d *decoder) enter(node ast.Node, path string) (ast.Node, bool) {
	d.values++
	d.depth++
	node = d.resolve(node)
	switch {
	case d.values <= maxValues && d.depth <= maxNesting:
		return node, true
	case !d.spent:
		d.spent = true
		d.values = maxValues
		d.fault(path, node, "too many values, or nested too deeply: write out what aliases (`*name`) repeat")
	}
	return node, false
}

func (d *decoder) leave() { d.depth-- }

// value fills v from node. What is null keeps its default.
func (d *decoder) value(node ast.Node, v reflect.Value, path string) {
	node, ok := d.enter(node, path)
	defer d.leave()
	if !ok || node.Type() == ast.NullType {
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
	d.entries(entries, path, func(key string, entry *ast.MappingValueNode) {
		_, at := keyOf(entry)
		field, ok := fields[key]
		if !ok {
			d.values++
			d.fault(joinPath(path, shownKey(key)), at, "%s", unknownKey(key, fields))
			return
		}
		path := joinPath(path, key)
		d.origins.of[path] = origin{file: d.origins.file, line: firstLine(at)}
		d.value(entry.Value, field, path)
	})
}

// entries calls each for every entry, but for those whose key was there before.
func (d *decoder) entries(entries []*ast.MappingValueNode, path string, each func(string, *ast.MappingValueNode)) {
	lines := make(map[string]int, len(entries))
	for _, entry := range entries {
		if d.spent || d.values > maxValues {
			return
		}
		key, at := keyOf(entry)
		if line, twice := lines[key]; twice {
			d.values++
			d.fault(joinPath(path, shownKey(key)), at, "%s: the first is in line %d, remove one", saidTwice, line)
			continue
		}
		lines[key] = firstLine(at)
		each(key, entry)
	}
}

func unknownKey(key string, fields map[string]reflect.Value) string {
	name, _, glued := strings.Cut(key, ":")
	_, known := fields[name]
	switch {
	case glued && known:
		return "unknown key: put a space after the colon"
	case key == "<<":
		return "unknown key: nothing is merged here, write the keys out"
	}
	return "unknown key" + didYouMean(strings.TrimSuffix(shownKey(key), "…"), fields)
}

func (d *decoder) sequence(node ast.Node, v reflect.Value, path string) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fault(path, node, "must be a list, not %s", describeNode(node))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(list.Values)))
	for i, item := range list.Values {
		if d.spent {
			return
		}
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
	v.Set(reflect.ValueOf(d.object(entries, path)))
}

func (d *decoder) object(entries []*ast.MappingValueNode, path string) map[string]any {
	m := make(map[string]any, len(entries))
	d.entries(entries, path, func(key string, entry *ast.MappingValueNode) {
		m[key] = d.claim(entry.Value, joinPath(path, shownKey(key)))
	})
	return m
}

func (d *decoder) claim(node ast.Node, path string) any {
	node, ok := d.enter(node, path)
	defer d.leave()
	if !ok {
		return nil
	}
	if entries, ok := mappingEntries(node); ok {
		return d.object(entries, path)
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
