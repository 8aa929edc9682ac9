package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// line is one figure of a result, as people read it.
type line struct {
	name, unit string
	figure     func(*Result) float64
	lessIsMore bool
}

var lines = []line{
	{"resident memory of a session", "KiB", func(r *Result) float64 { return r.Memory }, true},
	{"authenticated connects", "/s", func(r *Result) float64 { return r.Connects }, false},
	{"CPU of a connect", "µs", func(r *Result) float64 { return r.ConnectCPU }, true},
	{"published", "/s", func(r *Result) float64 { return r.Published }, false},
	{"deliveries", "/s", func(r *Result) float64 { return r.Deliveries }, false},
	{"CPU of the hub", "cores", func(r *Result) float64 { return r.Cores }, true},
	{"CPU of a delivery", "µs", func(r *Result) float64 { return r.CPU }, true},
	{"latency p50", "ms", func(r *Result) float64 { return r.P50 }, true},
	{"latency p99", "ms", func(r *Result) float64 { return r.P99 }, true},
	{"latency max", "ms", func(r *Result) float64 { return r.Max }, true},
	{"the generator was late, p99", "ms", func(r *Result) float64 { return r.Late }, true},
	{"reconnects", "in all", func(r *Result) float64 { return r.Returned }, false},
	{"all have what they missed after", "s", func(r *Result) float64 { return r.Resumed }, true},
}

// Print writes results for people: a column each, and how many times better the first
// is than the second.
func Print(w io.Writer, results ...Result) error {
	first := results[0]
	fmt.Fprintf(w, "%s: %d sessions, %d runs\n\n", describe(first), first.Sessions, first.Runs)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(results) > 1 {
		fmt.Fprintf(t, "\t%s\t%s\t\tratio\t\n", first.Hub, results[1].Hub)
	}
	for _, l := range lines {
		a := l.figure(&first)
		if a == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t", l.name, figure(a))
		if len(results) > 1 {
			b := l.figure(&results[1])
			fmt.Fprintf(t, "%s\t%s\t%s\t\n", figure(b), l.unit, ratio(a, b, l.lessIsMore))
		} else {
			fmt.Fprintf(t, "%s\t\n", l.unit)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		r.remark(w)
	}
	return nil
}

// remark writes what the figures do not say.
func (r *Result) remark(w io.Writer) {
	if r.NotHeld {
		fmt.Fprintf(w, "%s: the rate was not held: more was due than came in the time, and what came is no capacity\n", r.Hub)
	}
	if r.Unchecked > 0 {
		fmt.Fprintf(w, "%s: %s deliveries were checked for gaps and doubles; %s, each the first of its channel on a new connection, were not\n",
			r.Hub, figure(float64(r.Checked)), figure(float64(r.Unchecked)))
	}
	if err := r.Failure(); err != nil {
		fmt.Fprintf(w, "%s: %v\n", r.Hub, err)
	}
}

func describe(r Result) string {
	var with []string
	if r.Size > 0 {
		with = append(with, fmt.Sprintf("%d bytes", r.Size))
		if r.Rate > 0 {
			with = append(with, figure(r.Rate)+" messages a second")
		} else {
			with = append(with, "as fast as it holds")
		}
	}
	if r.Burst > 1 {
		with = append(with, fmt.Sprintf("%d at once", r.Burst))
	}
	return strings.Join(append([]string{r.Scenario}, with...), ", ")
}

// figure writes three digits, and thousands apart.
func figure(v float64) string {
	if v < 100 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	digits := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func ratio(a, b float64, lessIsMore bool) string {
	if lessIsMore {
		a, b = b, a
	}
	if b == 0 {
		return ""
	}
	return figure(a/b) + " ×"
}

// PrintTable writes the rows of Table for people. One that could not be measured has its
// error in place of a figure.
func PrintTable(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		bound, verdict := "at least", "pass"
		if r.Most {
			bound = "at most"
		}
		if !r.Met {
			verdict = "FAIL"
		}
		measured := figure(r.Figure) + " " + r.Unit
		if r.Error != "" {
			measured, verdict = "", "FAIL: "+strings.ReplaceAll(r.Error, "\n", "; ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\t\n", r.Name, measured, bound, figure(r.Target), verdict)
	}
	return t.Flush()
}
