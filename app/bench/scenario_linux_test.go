package bench

import (
	"testing"
	"time"

	"aldaba/app/bench/crowd"
)

func TestTokensEndWhileItIsMeasured(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 810_000_000, time.UTC)
	const connecting = 2 * time.Second
	for _, l := range []crowd.Load{
		{For: 2 * time.Second},
		{For: 4 * time.Second, Warm: 100 * time.Millisecond},
		{For: 10 * time.Second, Warm: 2 * time.Second},
	} {
		l.Focus = endOfTokens(now, connecting, &l)
		if l.Focus.Nanosecond() != 0 {
			t.Errorf("%s: a token says whole seconds", l.Focus)
		}
		for _, took := range []time.Duration{0, connecting, 2 * connecting} {
			warm, err := warmUntil(&l, now.Add(took))
			from := now.Add(took + warm)
			before, after := l.Focus.Sub(from), from.Add(l.For).Sub(l.Focus.Add(time.Second))
			if err != nil || warm < l.Warm || before < 500*time.Millisecond || after != before {
				t.Errorf("%s after %s of connecting: measured %s before the second and %s after it, %v", l.For, took, before, after, err)
			}
		}
		if _, err := warmUntil(&l, l.Focus); err == nil {
			t.Error("connecting took until the end, and nothing is said")
		}
	}
}

func TestOtherFaultsThanTheEndOfATokenAreNoted(t *testing.T) {
	t.Parallel()
	const expired = "closed with 4401"
	for _, c := range []struct {
		faults      map[string]int
		err, failed bool
	}{
		{map[string]int{expired: 3}, false, false},
		{map[string]int{expired: 3, "resync": 1}, false, true},
		{map[string]int{expired: 2, "closed with 1011": 1}, true, false},
	} {
		r := &run{stage: &stage{options: &Options{Sessions: 3}}, result: Result{Faults: make(map[string]int)}}
		if err := r.noteCut(c.faults); err != nil != c.err {
			t.Errorf("%v: %v", c.faults, err)
		}
		if err := r.result.Failure(); err != nil != c.failed {
			t.Errorf("%v: failure %v", c.faults, err)
		}
	}
}

func TestIdleSessionsOfAHubThatRunsAreMeasuredOnce(t *testing.T) {
	t.Parallel()
	const url = "ws://127.0.0.1:8080/ws"
	for want, o := range map[int]Options{
		1: {Scenario: "idle", Runs: 3, URL: url},
		2: {Scenario: "idle", Runs: 2},
		4: {Scenario: "room", Runs: 4, URL: url},
	} {
		if got := o.runs(); got != want {
			t.Errorf("%s: %d runs, want %d", o.Scenario, got, want)
		}
	}
}
