package bench

import (
	"fmt"
	"slices"
	"strings"
)

// All is what measures the table of figures: no scenario, but many.
const All = "all"

// Flags that many scenarios have in common.
const (
	anyHub    = " sessions compare pin url pid config"
	withLoad  = anyHub + " rate duration warm size redis"
	everybody = " runs json"
)

// uses says which flags a scenario looks at, beside those of everybody.
var uses = map[string]string{
	"idle":    anyHub + " duration",
	"connect": anyHub,
	"room":    withLoad + " burst churn plot room",
	"private": withLoad + " window durable churn plot private",
	"mixed":   withLoad + " window durable churn plot private room",
	"resume":  " sessions pin size",
	"expire":  " sessions pin url pid config rate window duration warm size redis private",
	All:       "",
}

// apart are flags of which one makes the other do nothing, and why.
var apart = []struct{ one, other, why string }{
	{"rate", "burst", "a burst is published when all have the one before"},
	{"rate", "window", "with a rate, messages are published when they are due, however many are under way"},
	{"plot", "rate", "it measures at ten rates of its own"},
	{"plot", "burst", "it measures at ten rates of its own"},
	{"plot", "churn", "it begins with as many messages as the hub holds, and churn needs a rate"},
	{"plot", "compare", "it draws one hub"},
	{"compare", "url", "it goes with a hub that is started here"},
	{"compare", "durable", "peers record nothing"},
	{"pin", "url", "a hub that runs already stays where it is"},
}

// needs are flags that say nothing without another.
var needs = []struct{ one, other string }{
	{"redis", "url"},
	{"pid", "url"},
	{"config", "url"},
	{"private", "url"},
	{"room", "url"},
	{"churn", "rate"},
}

// Refuse returns, for people, which of the flags that were given would do nothing.
func Refuse(scenario string, given []string) error {
	has := func(name string) bool { return slices.Contains(given, name) }
	for _, name := range given {
		if !used(scenario, name) {
			return fmt.Errorf("--%s does not go with %s%s", name, scenario, goesWith(name))
		}
	}
	for _, a := range apart {
		if has(a.one) && has(a.other) {
			return fmt.Errorf("--%s does not go with --%s: %s", a.one, a.other, a.why)
		}
	}
	for _, n := range needs {
		if has(n.one) && !has(n.other) {
			return fmt.Errorf("--%s needs --%s", n.one, n.other)
		}
	}
	return nil
}

func used(scenario, flag string) bool {
	return slices.Contains(strings.Fields(uses[scenario]+everybody), flag)
}

func goesWith(flag string) string {
	with := slices.DeleteFunc(slices.Clone(Scenarios), func(s string) bool { return !used(s, flag) })
	if len(with) == 0 {
		return ""
	}
	return ", but with " + strings.Join(with, ", ")
}
