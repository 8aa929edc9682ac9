package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestGo(t *testing.T) {
	in := `{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"a","Test":"TestBad","Output":"what went wrong\n"}
{"Action":"fail","Package":"a","Test":"TestBad"}
{"Action":"skip","Package":"a","Test":"TestSkipped"}
{"Action":"fail","Package":"a","Elapsed":0.2}
{"ImportPath":"b","Action":"build-output","Output":"b.go:1: no such thing\n"}
{"ImportPath":"b","Action":"build-fail"}
{"Action":"fail","Package":"b","FailedBuild":"b"}
{"Action":"output","Package":"c","Test":"TestHangs","Output":"panic: timed out\n"}
{"Action":"fail","Package":"c"}
{"Action":"skip","Package":"no-tests"}
go: something that is not JSON
`
	var out strings.Builder
	count, err := Go(strings.NewReader(in), &out)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Count{Passed: 1, Failed: 4}); count != want {
		t.Errorf("got %v, want %v", count, want)
	}
	for _, want := range []string{"what went wrong", "no such thing", "panic: timed out", "something that is not JSON"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "chatter") {
		t.Errorf("output has what a passed test said:\n%s", out.String())
	}
}

func TestNode(t *testing.T) {
	for name, in := range map[string]string{
		"TAP":        "ok 1 - x\n# tests 4\n# pass 2\n# fail 1\n# cancelled 0\n# skipped 1\n# todo 0\n",
		"for people": "✔ x (3ms)\nℹ tests 4\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n",
	} {
		t.Run(name, func(t *testing.T) {
			count, err := Node(strings.NewReader(in), &strings.Builder{})
			if want := (Count{Passed: 2, Failed: 2}); err != nil || count != want {
				t.Errorf("got %v, %v, want %v", count, err, want)
			}
		})
	}
}

func TestTotal(t *testing.T) {
	tests := map[string]struct {
		suites []string
		want   string
		green  bool
	}{
		"green":             {[]string{"ℹ pass 3\n", "# pass 4\n"}, "7 passed, 0 failed\n", true},
		"one failed":        {[]string{"# pass 3\n# fail 1\n", "# pass 4\n"}, "7 passed, 1 failed\n", false},
		"a suite ran not":   {[]string{"# pass 3\n", "node: command not found\n"}, "3 passed, 1 failed\n", false},
		"nothing ran":       {[]string{""}, "0 passed, 1 failed\n", false},
		"nothing but fails": {[]string{"# fail 2\n"}, "0 passed, 2 failed\n", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			counts := filepath.Join(t.TempDir(), "counts")
			for _, suite := range test.suites {
				if err := run("node", counts, strings.NewReader(suite), &strings.Builder{}); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			err := run("total", counts, nil, &out)
			if out.String() != test.want || (err == nil) != test.green {
				t.Errorf("got %q, %v, want %q", out.String(), err, test.want)
			}
		})
	}
}
