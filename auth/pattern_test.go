package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPatternFaults(t *testing.T) {
	history := func(size int, ttl time.Duration) Pattern {
		return Pattern{Name: "a", History: &History{Size: size, TTL: ttl}}
	}
	for name, c := range map[string]struct {
		pattern Pattern
		want    []string
	}{
		"text":                       {Pattern{Name: "broadcast"}, nil},
		"every character":            {Pattern{Name: "AZaz09_.:@#/|+=~-%"}, nil},
		"placeholder":                {Pattern{Name: "user:{sub}", Join: JoinAuto}, nil},
		"text around a placeholder":  {Pattern{Name: "u-{sub}.inbox:x", Join: JoinOnRequest}, nil},
		"namespaced claim":           {Pattern{Name: "room:{https://example.com/rooms}"}, nil},
		"any":                        {Pattern{Name: "room:*"}, nil},
		"any, said":                  {Pattern{Name: "*:*", Join: JoinOnRequest}, nil},
		"longest":                    {Pattern{Name: strings.Repeat("x", 254) + "{a}"}, nil},
		"history":                    {history(1, time.Second), nil},
		"condition":                  {Pattern{Name: "a", If: `"admin" in claims.roles`}, nil},
		"name missing":               {Pattern{}, []string{"[0].name"}},
		"empty segment":              {Pattern{Name: "a::b"}, []string{"[0].name"}},
		"empty first segment":        {Pattern{Name: ":a"}, []string{"[0].name"}},
		"empty last segment":         {Pattern{Name: "a:"}, []string{"[0].name"}},
		"white space":                {Pattern{Name: "a b"}, []string{"[0].name"}},
		"non-ASCII":                  {Pattern{Name: "añ"}, []string{"[0].name"}},
		"glob":                       {Pattern{Name: "a?"}, []string{"[0].name"}},
		"bad before a placeholder":   {Pattern{Name: "a b{sub}"}, []string{"[0].name"}},
		"bad after a placeholder":    {Pattern{Name: "{sub}\n"}, []string{"[0].name"}},
		"brace not closed":           {Pattern{Name: "user:{sub"}, []string{"[0].name"}},
		"brace not opened":           {Pattern{Name: "user:sub}"}, []string{"[0].name"}},
		"brace in braces":            {Pattern{Name: "user:{{sub}}"}, []string{"[0].name"}},
		"claim missing":              {Pattern{Name: "user:{}"}, []string{"[0].name"}},
		"claim with white space":     {Pattern{Name: "user:{ sub }"}, []string{"[0].name"}},
		"claim of dots":              {Pattern{Name: "user:{a..b}"}, []string{"[0].name"}},
		"claim that begins in a dot": {Pattern{Name: "user:{.a}"}, []string{"[0].name"}},
		"any inside of braces":       {Pattern{Name: "user:{*}"}, []string{"[0].name"}},
		"part of a segment":          {Pattern{Name: "room:a*"}, []string{"[0].name"}},
		"any and a placeholder":      {Pattern{Name: "room:{a}*"}, []string{"[0].name"}},
		"two stars":                  {Pattern{Name: "room:**"}, []string{"[0].name"}},
		"two placeholders":           {Pattern{Name: "room:{a}{b}"}, []string{"[0].name"}},
		"two placeholders apart":     {Pattern{Name: "room:{a}-{b}"}, []string{"[0].name"}},
		"the hub's own":              {Pattern{Name: "aldaba:control"}, []string{"[0].name"}},
		"the hub's own, any":         {Pattern{Name: "aldaba:*"}, []string{"[0].name"}},
		"too long":                   {Pattern{Name: strings.Repeat("x", 256)}, []string{"[0].name"}},
		"too long when filled in":    {Pattern{Name: strings.Repeat("x", 254) + ":{a}"}, []string{"[0].name"}},
		"any, joined":                {Pattern{Name: "room:*", Join: JoinAuto}, []string{"[0].join"}},
		"unknown join":               {Pattern{Name: "room", Join: "Auto"}, []string{"[0].join"}},
		"history without size":       {history(0, time.Hour), []string{"[0].history.size"}},
		"history without time":       {history(10, -time.Hour), []string{"[0].history.ttl"}},
		"history of nothing":         {history(0, 0), []string{"[0].history.size", "[0].history.ttl"}},
		"condition that is none":     {Pattern{Name: "a", If: `claims.`}, []string{"[0].if"}},
		"condition of another type":  {Pattern{Name: "a", If: `1 + 1`}, []string{"[0].if"}},
		"condition of unknown type":  {Pattern{Name: "a", If: `claims.admin`}, []string{"[0].if"}},
		"condition of unknown name":  {Pattern{Name: "a", If: `token.admin == true`}, []string{"[0].if"}},
		"condition of white space":   {Pattern{Name: "a", If: ` `}, []string{"[0].if"}},
		"condition of wrong types":   {Pattern{Name: "a", If: `1 == "1"`}, []string{"[0].if"}},
		"everything": {
			Pattern{Name: "::", Join: "x", If: "(", History: &History{}},
			[]string{"[0].name", "[0].join", "[0].if", "[0].history.size", "[0].history.ttl"},
		},
	} {
		_, err := NewPolicy([]Pattern{c.pattern})
		if diff := cmp.Diff(c.want, faultPaths(t, err)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPatternFaultsAreReportedAllAtOnce(t *testing.T) {
	_, err := NewPolicy([]Pattern{{Name: "a:"}, {Name: "ok"}, {Name: "b", If: "1", Join: "x"}})
	if diff := cmp.Diff([]string{"[0].name", "[2].join", "[2].if"}, faultPaths(t, err)); diff != "" {
		t.Error(diff)
	}
	if strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("one line for each fault: %q", err)
	}
}
