// Tally reads the output of test runners, shows what a reader needs of it, and
// counts tests. A skipped test counts as failed: it proved nothing.
//
//	go test -json ./... | tally -counts FILE go
//	npm test            | tally -counts FILE node
//	tally -counts FILE total
//
// The first two append what they counted to FILE; the last adds it all up,
// prints "N passed, N failed", and exits with 1 unless something passed and
// nothing failed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Count is how many tests passed and failed.
type Count struct{ Passed, Failed int }

func (c Count) String() string { return fmt.Sprintf("%d passed, %d failed", c.Passed, c.Failed) }

func main() {
	counts := flag.String("counts", "", "file that gathers the counts")
	flag.Parse()
	if err := run(flag.Arg(0), *counts, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

func run(mode, counts string, in io.Reader, out io.Writer) error {
	var count Count
	var err error
	switch mode {
	case "go":
		count, err = Go(in, out)
	case "node":
		count, err = Node(in, out)
	case "total":
		return total(counts, out)
	default:
		return fmt.Errorf("unknown mode %q: go, node or total", mode)
	}
	if err != nil {
		return err
	}
	if count == (Count{}) {
		count.Failed = 1 // a suite that ran nothing has failed
	}
	fmt.Fprintln(out, count)
	return record(counts, count)
}

func record(counts string, c Count) error {
	f, err := os.OpenFile(counts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, c)
	return errors.Join(err, f.Close())
}

func total(counts string, out io.Writer) error {
	text, err := os.ReadFile(counts)
	if err != nil {
		return err
	}
	var sum Count
	for line := range strings.Lines(string(text)) {
		var c Count
		if _, err := fmt.Sscanf(line, "%d passed, %d failed", &c.Passed, &c.Failed); err != nil {
			return fmt.Errorf("%s: %q: %w", counts, line, err)
		}
		sum.Passed += c.Passed
		sum.Failed += c.Failed
	}
	fmt.Fprintln(out, sum)
	if sum.Passed == 0 || sum.Failed > 0 {
		return errors.New("not green")
	}
	return nil
}
