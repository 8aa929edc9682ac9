package crowd

import "github.com/HdrHistogram/hdrhistogram-go"

// NewHistogram returns one of nanoseconds up to two minutes, with three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(1_000), int64(120_000_000_000), 3)
}
