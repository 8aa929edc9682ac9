package main_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms says which other rooms each room may import. Imports run one way:
// app → app/server → {hub/broker, frontend} → hub → auth.
var rooms = map[string][]string{
	"auth":       {},
	"hub":        {"auth"},
	"hub/broker": {"auth", "hub"},
	"frontend":   {"auth", "hub"},
	"app/server": {"auth", "hub", "hub/broker", "frontend"},
	"app":        {"auth", "hub", "hub/broker", "frontend", "app/server", "app/bench", "app/bench/crowd", "app/bench/peer"},

	// The benchmark looks at a hub from outside: it imports none.
	"app/bench":       {"auth", "app/bench/crowd"},
	"app/bench/crowd": {"auth"},
	"app/bench/peer":  {"auth"},

	// For tests; no room may import them.
	"internal/redistest": {},
	"internal/deaftest":  {},
}

// owners says which rooms may import a library; every other room may not.
var owners = map[string][]string{
	"github.com/gin-gonic/gin":      {"app/server", "app/bench/peer"},
	"github.com/olahol/melody":      {"hub", "app/bench/peer"},
	"github.com/gorilla/websocket":  {"hub", "app", "app/bench/peer"},
	"github.com/redis/go-redis":     {"hub/broker", "internal/redistest", "app/bench/peer"},
	"github.com/alicebob/miniredis": {"hub/broker"},
	"github.com/golang-jwt/jwt":     {"auth"},
	"github.com/MicahParks/keyfunc": {"auth"},
	"github.com/MicahParks/jwkset":  {"auth"},
	"cel.dev/cel-go":                {"auth"},
}

// importFault says what is wrong with a file of room importing pkg, or nothing.
func importFault(room, pkg string) string {
	within := func(prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }
	for library, allowed := range owners {
		if within(library) && !slices.Contains(allowed, room) {
			return "only these rooms see " + library + ": " + strings.Join(allowed, ", ")
		}
	}
	other, ours := strings.CutPrefix(pkg, "aldaba/")
	if ours && other != room && !slices.Contains(rooms[room], other) {
		return room + " may import " + strings.Join(rooms[room], ", ") + " and no other room"
	}
	return ""
}

func TestImportsRunOneWay(t *testing.T) {
	files := 0
	root := ".."
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			// What the go tool does not look into, and examples, which may import anything.
			base := entry.Name()
			if rel != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || rel == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		files++
		room := path.Dir(rel)
		if _, known := rooms[room]; !known {
			t.Errorf("%s: %s is not a room: give it a place in the order, here and in .golangci.yml", rel, room)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := importFault(room, pkg); fault != "" {
				t.Errorf("%s imports %s: %s", rel, pkg, fault)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < len(rooms) {
		t.Fatalf("looked at %d files only: is this the repository?", files)
	}
}

func TestForbiddenImportsAreFound(t *testing.T) {
	for _, c := range []struct{ room, pkg string }{
		{"auth", "aldaba/hub"},
		{"hub", "aldaba/hub/broker"},
		{"hub", "aldaba/app/server"},
		{"hub/broker", "aldaba/frontend"},
		{"frontend", "aldaba/hub/broker"},
		{"app/server", "aldaba/app"},
		{"app/server", "aldaba/examples/go"},
		{"app", "github.com/gin-gonic/gin"},
		{"hub", "github.com/gin-gonic/gin/binding"},
		{"hub/broker", "github.com/olahol/melody"},
		{"app/server", "github.com/gorilla/websocket"},
		{"hub", "github.com/redis/go-redis/v9"},
		{"app", "github.com/alicebob/miniredis/v2"},
		{"app", "github.com/golang-jwt/jwt/v5"},
		{"app/server", "github.com/MicahParks/keyfunc/v3"},
		{"hub", "cel.dev/cel-go/cel"},
	} {
		if importFault(c.room, c.pkg) == "" {
			t.Errorf("%s may import %s, but must not", c.room, c.pkg)
		}
	}
	for _, c := range []struct{ room, pkg string }{
		{"hub", "aldaba/auth"},
		{"hub/broker", "aldaba/hub"},
		{"app", "aldaba/app/server"},
		{"app/server", "github.com/gin-gonic/gin"},
		{"hub", "github.com/olahol/melody"},
		{"auth", "net/http"},
	} {
		if fault := importFault(c.room, c.pkg); fault != "" {
			t.Errorf("%s may not import %s: %s", c.room, c.pkg, fault)
		}
	}
}

// TestPins holds the versions that were chosen by name. The newest melody tag
// that the go tool picks by itself is v1.1.4, an older line without what the
// hub relies on; go-redis before v9.23 loses RESP3 frames.
func TestPins(t *testing.T) {
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for module, version := range map[string]string{
		"github.com/olahol/melody":     "v1.4.0",
		"github.com/gin-gonic/gin":     "v1.12.0",
		"github.com/golang-jwt/jwt/v5": "v5.3.1",
		"github.com/gorilla/websocket": "v1.5.3",

		"github.com/MicahParks/keyfunc/v3": "v3.9.1",
		"github.com/alicebob/miniredis/v2": "v2.40.0",
	} {
		line := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module+" "+version) + `$`)
		if !line.Match(text) {
			t.Errorf("go.mod does not require %s %s", module, version)
		}
	}
	if !strings.Contains(string(text), "\tcel.dev/cel-go v") {
		t.Error("go.mod does not require CEL at cel.dev/cel-go: the old path no longer resolves")
	}
	redis := regexp.MustCompile(`github\.com/redis/go-redis/v9 v9\.(\d+)\.`).FindSubmatch(text)
	if redis == nil {
		t.Fatal("go.mod does not require go-redis v9")
	}
	if minor, err := strconv.Atoi(string(redis[1])); err != nil || minor < 23 {
		t.Errorf("go.mod requires go-redis v9.%s, want v9.23 or newer", redis[1])
	}
	if strings.Contains(string(text), "replace ") {
		t.Error("go.mod replaces a module: the pins say nothing then")
	}
}
