package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
)

// summary matches a line of the summary of `node --test`, as TAP ("# pass 3")
// or for people ("ℹ pass 3").
var summary = regexp.MustCompile(`^(?:#|ℹ) (pass|fail|cancelled|skipped|todo) (\d+)\s*$`)

// Node counts the tests of `node --test` output, which it copies to out.
// Several summaries add up. Cancelled, skipped and to-do tests count as failed.
func Node(in io.Reader, out io.Writer) (Count, error) {
	var count Count
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		fmt.Fprint(out, line)
		if found := summary.FindStringSubmatch(line); found != nil {
			var n int
			fmt.Sscan(found[2], &n) //nolint:errcheck // the expression says it is a number
			if found[1] == "pass" {
				count.Passed += n
			} else {
				count.Failed += n
			}
		}
		if err == io.EOF {
			return count, nil
		}
		if err != nil {
			return count, err
		}
	}
}
