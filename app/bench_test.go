package main

import (
	"testing"

	"aldaba/app/bench"
)

func TestBenchFailsForAnyFault(t *testing.T) {
	t.Parallel()
	fine := bench.Result{Scenario: "private"}
	if err := failures([]bench.Result{fine, fine}); err != nil {
		t.Error(err)
	}
	for _, bad := range []bench.Result{{Lost: 1}, {Faults: map[string]int{"not recovered": 1}}} {
		if failures([]bench.Result{fine, bad}) == nil {
			t.Errorf("%+v is no failure", bad)
		}
	}
}
