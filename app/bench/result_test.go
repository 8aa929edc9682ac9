package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	m := median([]Result{
		{Deliveries: 30, P99: 1, Lost: 1, Faults: map[string]int{"end of stream": 1}},
		{Deliveries: 10, P99: 9, Faults: map[string]int{"end of stream": 2}},
		{Deliveries: 20, P99: 2, Lost: 2},
	})
	if m.Runs != 3 || m.Deliveries != 20 || m.P99 != 2 || m.Lost != 3 || m.Faults["end of stream"] != 3 {
		t.Errorf("%+v", m)
	}
	if m := median([]Result{{Memory: 10}, {Memory: 20}}); m.Memory != 15 {
		t.Errorf("of two: %v", m.Memory)
	}
}

func TestPlot(t *testing.T) {
	t.Parallel()
	var at []Result
	for i := range 10 {
		at = append(at, Result{Scenario: "private", Sessions: 100, Rate: float64(i+1) * 50, P50: 0.2, P99: 3, Max: 70})
	}
	for n := 1; n <= len(at); n++ {
		var b bytes.Buffer
		if err := Plot(&b, at[:n]); err != nil {
			t.Fatal(err)
		}
		curves := curvesOf(t, &b)
		if len(curves) != 3 {
			t.Fatalf("%d curves", len(curves))
		}
		for _, points := range curves {
			if got := len(strings.Fields(points)); got != n || strings.Contains(points, "NaN") {
				t.Errorf("%d points of %d: %s", got, n, points)
			}
		}
	}
}

// curvesOf reads an SVG image to its end and returns the points of its curves.
func curvesOf(t *testing.T, r io.Reader) (curves []string) {
	t.Helper()
	for d := xml.NewDecoder(r); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return curves
		}
		if err != nil {
			t.Fatal(err)
		}
		start, _ := token.(xml.StartElement)
		for _, a := range start.Attr {
			if start.Name.Local == "polyline" && a.Name.Local == "points" {
				curves = append(curves, a.Value)
			}
		}
	}
}

func TestTableKeepsWhatIsDone(t *testing.T) {
	t.Parallel()
	measured := make(map[string]int)
	run := func(_ context.Context, o Options) (Result, error) {
		measured[o.Scenario]++
		if o.Scenario == "resume" {
			return Result{}, errors.New("the hub has ended: \npanic")
		}
		return Result{Deliveries: 1e9, Connects: 1e9, CPU: 1}, nil
	}
	rows := tabulate(t.Context(), sound(), table(), run)
	if len(rows) != len(table()) || measured["resume"] != 1 || measured["expire"] != 1 {
		t.Fatalf("%d rows, measured %v", len(rows), measured)
	}
	var b strings.Builder
	if err := PrintTable(&b, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAIL: the hub has ended: ; panic", "1,000,000,000 /s "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s\ndoes not say %q", &b, want)
		}
	}
	for _, r := range rows {
		if r.Met == (r.Error != "") {
			t.Errorf("%+v", r)
		}
	}
}

func TestTableEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	run := func(_ context.Context, o Options) (Result, error) {
		if o.Scenario == "connect" {
			cancel()
			return Result{}, ctx.Err()
		}
		return Result{}, nil
	}
	rows := tabulate(ctx, sound(), table(), run)
	if last := rows[len(rows)-1].Name; last != "p99 at 1,000 private messages/s" {
		t.Errorf("the last row is %s", last)
	}
}
