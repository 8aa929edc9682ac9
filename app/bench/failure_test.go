package bench

import (
	"strings"
	"testing"
)

func TestFaultIsAFailure(t *testing.T) {
	t.Parallel()
	for _, r := range []Result{{}, {NotHeld: true, Unchecked: 1}} {
		if err := r.Failure(); err != nil {
			t.Error(err)
		}
	}
	faults := map[string]int{"end of stream": 100}
	for want, r := range map[string]Result{
		"mixed: 2 deliveries never came":                      {Lost: 2},
		"mixed: 100 × end of stream":                          {Faults: faults},
		"mixed: 2 deliveries never came; 100 × end of stream": {Lost: 2, Faults: faults},
	} {
		r.Hub, r.Scenario = "aldaba", "mixed"
		if err := r.Failure(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if got := printed(t, r); !strings.Contains(got, "aldaba: "+want+"\n") {
			t.Errorf("it is not printed:\n%s", got)
		}
	}
}

func TestRateThatIsNotHeldIsSaid(t *testing.T) {
	t.Parallel()
	for arrived, want := range map[int]bool{0: false, 97: false, 98: true, 101: true} {
		if held(arrived, 100) != want {
			t.Errorf("%d of 100: %v", arrived, !want)
		}
	}
	const note = "the rate was not held"
	if got := printed(t, median([]Result{{}, {NotHeld: true}, {}})); !strings.Contains(got, note) {
		t.Errorf("not in one of three runs, and not said:\n%s", got)
	}
	if got := printed(t, Result{}); strings.Contains(got, note) {
		t.Error(got)
	}
}

func printed(t *testing.T, r Result) string {
	t.Helper()
	var b strings.Builder
	if err := Print(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
