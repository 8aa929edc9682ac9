package bench

import "testing"

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
