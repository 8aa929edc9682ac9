package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail, instead of Package
	Test       string
	Output     string
	Elapsed    float64
}

type testID struct{ pkg, test string }

// report is what is known so far about one run of `go test`.
type report struct {
	out    io.Writer
	count  Count
	output map[testID][]string // kept until the test has passed
	failed map[string]int      // per package, tests that failed
}

// Go counts the tests of a `go test -json` stream, subtests included, and
// writes to out one line per package and everything that a failed test said.
// A package that fails without a failed test (it does not build, or it leaks)
// counts as one failure.
func Go(in io.Reader, out io.Writer) (Count, error) {
	r := report{out: out, output: map[testID][]string{}, failed: map[string]int{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return r.count, nil
		}
		if err != nil {
			return r.count, err
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		r.out.Write(line) //nolint:errcheck // it is a terminal or a pipe to one
		return
	}
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[id] = append(r.output[id], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnded(e)
		} else {
			r.testEnded(id, e.Action)
		}
		delete(r.output, id)
	}
}

func (r *report) testEnded(id testID, action string) {
	if action == "pass" {
		r.count.Passed++
		return
	}
	r.count.Failed++
	r.failed[id.pkg]++
	fmt.Fprintf(r.out, "--- %s: %s %s\n", action, id.pkg, id.test)
	r.show(id)
}

func (r *report) packageEnded(e event) {
	fmt.Fprintf(r.out, "%-5s %s (%.1fs)\n", e.Action, e.Package, e.Elapsed)
	if e.Action != "fail" {
		return
	}
	if r.failed[e.Package] == 0 {
		r.count.Failed++
	}
	// What belongs to no test, and tests that never ended: a panic, a leak, a time-out.
	for id := range r.output {
		if id.pkg == e.Package {
			r.show(id)
		}
	}
}

func (r *report) show(id testID) {
	for _, text := range r.output[id] {
		fmt.Fprint(r.out, "    ", text)
	}
}
