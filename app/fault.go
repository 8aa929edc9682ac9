package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"aldaba/auth"
)

// fault is one thing wrong with a file or the environment. It never holds the
// value of a secret.
type fault struct {
	origin origin
	path   string // auth.issuers[0].secret; empty: the whole file
	reason string
}

// origin is where a value came from: a line of a file, or a variable.
type origin struct {
	file     string
	line     int    // 0: the file as a whole
	variable string // instead of file and line
}

func (o origin) String() string {
	switch {
	case o.variable != "":
		return o.variable
	case o.line > 0:
		return fmt.Sprintf("%s:%d", o.file, o.line)
	default:
		return o.file
	}
}

// String is one line: `config.yaml:12: auth.issuers[0].secret: what is wrong`.
func (f fault) String() string {
	parts := []string{f.origin.String(), f.path, f.reason}
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, ": ")
}

// faults is everything wrong at once, as an error of one line for each.
type faults []fault

func (fs faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// orNil is fs as an error, sorted as a reader goes through the file, or nil.
func (fs faults) orNil() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b fault) int {
		return cmp.Or(
			cmp.Compare(a.origin.variable, b.origin.variable),
			cmp.Compare(a.origin.line, b.origin.line),
		)
	})
	return fs
}

// origins remembers where the value at each path came from.
type origins struct {
	file string
	of   map[string]origin
}

func newOrigins(file string) origins {
	return origins{file: file, of: make(map[string]origin)}
}

// fault says what is wrong at path. A variable or a flag that is the path's own
// says where better than the path.
func (o origins) fault(path, reason string) fault {
	at := o.find(path)
	if own, ok := o.of[path]; ok && own.variable != "" {
		path = ""
	}
	return fault{origin: at, path: path, reason: reason}
}

// find returns the origin of path, or of the nearest thing around it.
func (o origins) find(path string) origin {
	for {
		if at, ok := o.of[path]; ok {
			return at
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return origin{file: o.file}
		}
		path = path[:i]
	}
}

// authFaults takes apart what auth's constructors join, and says where under
// path each belongs.
func authFaults(err error, path string, from origins) faults {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all faults
		for _, e := range joined.Unwrap() {
			all = append(all, authFaults(e, path, from)...)
		}
		return all
	}
	reason := err.Error()
	if f, ok := errors.AsType[*auth.Fault](err); ok {
		path += f.Path
		reason = f.Reason
	}
	return faults{from.fault(path, reason)}
}
