package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
)

// Sweep measures o at ten rates, up to nine tenths of what it holds. If one fails, it
// returns those before it as well.
func Sweep(ctx context.Context, o Options) ([]Result, error) {
	o.Rate = 0
	most, err := Run(ctx, o)
	if err == nil {
		err = most.Failure()
	}
	if err != nil {
		return nil, err
	}
	var at []Result
	for i := 1; i <= 10; i++ {
		o.Rate = max(1, math.Round(most.Published*0.09*float64(i)))
		r, err := Run(ctx, o)
		if err != nil {
			return at, err
		}
		at = append(at, r)
	}
	return at, nil
}

// The picture, in pixels.
const (
	plotWidth, plotHeight = 720, 420
	plotLeft, plotBottom  = 70, 50
	plotTop, plotRight    = 40, 40
)

// Plot draws latency, in powers of ten, against the rate, as an SVG image.
func Plot(w io.Writer, at []Result) error {
	most, low, high := 0.0, math.Inf(1), math.Inf(-1)
	for _, r := range at {
		most = max(most, r.Rate)
		low, high = min(low, r.P50), max(high, r.Max)
	}
	low, high = math.Floor(math.Log10(max(low, 0.001))), math.Ceil(math.Log10(max(high, 0.01)))
	x := func(rate float64) float64 {
		return plotLeft + rate/most*(plotWidth-plotLeft-plotRight)
	}
	y := func(ms float64) float64 {
		part := (math.Log10(max(ms, 0.001)) - low) / (high - low)
		return plotHeight - plotBottom - part*(plotHeight-plotTop-plotBottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" fill="#555">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="%d" y="22" font-size="15" fill="#222">Latency of %s messages, %d sessions</text>
`, plotWidth, plotHeight, plotLeft, at[0].Scenario, at[0].Sessions)
	for p := low; p <= high; p++ {
		ms := math.Pow(10, p)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s ms</text>
`, plotLeft, y(ms), plotWidth-plotRight, plotLeft-8, y(ms)+4, figure(ms))
	}
	for i := range 6 {
		rate := most * float64(i) / 5
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>
`, x(rate), plotHeight-plotBottom+22, figure(rate))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">messages a second</text>
`, (plotLeft+plotWidth-plotRight)/2, plotHeight-8)
	for i, curve := range []struct {
		name, color string
		of          func(Result) float64
	}{
		{"p50", "#2a7", func(r Result) float64 { return r.P50 }},
		{"p99", "#27c", func(r Result) float64 { return r.P99 }},
		{"max", "#c52", func(r Result) float64 { return r.Max }},
	} {
		var points []string
		for _, r := range at {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(r.Rate), y(curve.of(r))))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="22" text-anchor="end" fill="%s">%s</text>
`, strings.Join(points, " "), curve.color, plotWidth-plotRight-(2-i)*45, curve.color, curve.name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
