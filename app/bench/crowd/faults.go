package crowd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Faults says what went wrong, the most frequent first.
func Faults(faults map[string]int) string {
	if len(faults) == 0 {
		return "no faults"
	}
	kinds := slices.SortedFunc(maps.Keys(faults), func(a, b string) int {
		return cmp.Or(cmp.Compare(faults[b], faults[a]), cmp.Compare(a, b))
	})
	var said []string
	for _, k := range kinds {
		said = append(said, fmt.Sprintf("%d × %s", faults[k], k))
	}
	return strings.Join(said, ", ")
}
