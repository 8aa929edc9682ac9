package auth

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the property tests with this seed")

// seeded returns a source of chance that a failed test can be repeated with.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./auth -run '^%s$' -seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// texts are what names are made of: harmless, special, invisible, foreign.
var texts = []string{
	"a", "b", "7", "42", "in", "aldaba", ":", "*", "?", "[", "]", "{", "}", "%", "%3A", "\x00", "\n", " ", "é", "e\u0301", "ɐ", "\u202e", "\U0001F600", "\ufffd",
	"A", "_", ".", "/", "-", "x-", "-x",
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(3) {
		b.WriteString(texts[r.IntN(len(texts))])
	}
	if r.IntN(100) == 0 {
		return strings.Repeat(b.String(), 100)
	}
	return b.String()
}

func randomValue(r *rand.Rand) any {
	switch r.IntN(12) {
	case 0:
		return json.Number([]string{"0", "7", "-3", "-0", "1.5", "1e3", "123456789012345678901234567890"}[r.IntN(7)])
	case 1:
		return []any{true, nil, "", map[string]any{"a": "b"}, []any{}, 1.5}[r.IntN(6)]
	case 2, 3, 4:
		list := make([]any, 1+r.IntN([]int{5, 5, 5, 25}[r.IntN(4)])) // beyond fewEntries too
		for i := range list {
			if list[i] = randomText(r); r.IntN(60) == 0 {
				list[i] = randomValue(r)
			}
		}
		return list
	}
	return randomText(r)
}

// The model is written without a look at the package: it knows patterns as lists
// of parts, writes every channel out, and compares.
type (
	modelPart struct {
		any           bool
		before, after string
		claim         string
	}
	modelPattern struct {
		Pattern
		parts []modelPart
		holds func(claims map[string]any) bool
	}
)

func randomPattern(r *rand.Rand) modelPattern {
	literals := []string{"user", "room", "a", "x-", "aldaba", "%3A", "7"}
	p := modelPattern{holds: func(map[string]any) bool { return true }}
	wide := false
	var names []string
	for i := range 1 + r.IntN(3) {
		part := modelPart{before: literals[r.IntN(len(literals))]}
		switch r.IntN(5) {
		case 0:
			part, wide = modelPart{any: true}, true
		case 1, 2:
			part = modelPart{claim: []string{"sub", "rooms", "org.id"}[r.IntN(3)]}
			if r.IntN(3) == 0 {
				part.before, part.after = literals[r.IntN(len(literals))], []string{"", ".x", "-7"}[r.IntN(3)]
			}
		}
		if i == 0 && part.before == "aldaba" && part.claim == "" {
			part.before = "user"
		}
		p.parts = append(p.parts, part)
		switch {
		case part.any:
			names = append(names, "*")
		case part.claim != "":
			names = append(names, part.before+"{"+part.claim+"}"+part.after)
		default:
			names = append(names, part.before)
		}
	}
	p.Pattern = Pattern{Name: strings.Join(names, ":"), Publish: r.IntN(2) == 0, Presence: r.IntN(2) == 0}
	if !wide && r.IntN(3) > 0 {
		p.Join = []string{JoinAuto, JoinOnRequest}[r.IntN(2)]
	}
	if r.IntN(4) == 0 {
		p.If = `type(claims.sub) == string && claims.sub == "7"`
		p.holds = func(claims map[string]any) bool { return claims["sub"] == "7" }
	}
	return p
}

var modelPlain = regexp.MustCompile(`^[A-Za-z0-9_.@#/|+=~-]$`)

func modelEncode(value string) string {
	var out strings.Builder
	for _, b := range []byte(value) {
		if c := string(rune(b)); b < 128 && modelPlain.MatchString(c) {
			out.WriteString(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// modelValues returns what a claim fills in, or nothing.
func modelValues(value any) []string {
	switch value := value.(type) {
	case string:
		if value != "" && utf8.ValidString(value) {
			return []string{modelEncode(value)}
		}
	case json.Number:
		if regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`).MatchString(value.String()) {
			return []string{value.String()}
		}
	case []any:
		var all []string
		for _, entry := range value {
			one := modelValues(entry)
			if _, nested := entry.([]any); nested || len(one) == 0 {
				return nil
			}
			all = append(all, one...)
		}
		return all
	}
	return nil
}

// modelChannels returns every channel that p yields, with "*" for any segment.
func modelChannels(p modelPattern, claims map[string]any) []string {
	if !p.holds(claims) {
		return nil
	}
	names := []string{""}
	for i, part := range p.parts {
		options := []string{part.before}
		switch {
		case part.any:
			options = []string{"*"}
		case part.claim == "org.id":
			org, _ := claims["org"].(map[string]any)
			options = modelValues(org["id"])
		case part.claim != "":
			options = modelValues(claims[part.claim])
		}
		var longer []string
		for _, name := range names {
			for _, option := range options {
				if part.claim != "" {
					option = part.before + option + part.after
				}
				if i > 0 {
					option = name + ":" + option
				}
				longer = append(longer, option)
			}
		}
		names = longer
	}
	if p.Join == JoinAuto && len(names) > 10_000 || p.Join == "" && !slices.Contains(p.parts, modelPart{any: true}) && len(names) > 10_000 {
		return nil
	}
	return names
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9_.:@#/|+=~%-]{1,255}$`)

func modelMatches(name, channel string) bool {
	if len(name) != len(channel) && !strings.Contains(name, "*") {
		return false
	}
	if !modelName.MatchString(channel) || strings.HasPrefix(channel, "aldaba:") {
		return false
	}
	want, got := strings.Split(name, ":"), strings.Split(channel, ":")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && (want[i] != "*" || got[i] == "") {
			return false
		}
	}
	return true
}

func randomClaims(r *rand.Rand) map[string]any {
	claims := map[string]any{"sub": randomValue(r)}
	if r.IntN(4) > 0 {
		claims["rooms"] = randomValue(r)
	}
	if r.IntN(4) > 0 {
		claims["org"] = map[string]any{"id": randomValue(r)}
	}
	return claims
}

func TestGrantsAgreeWithANaiveModel(t *testing.T) {
	r := seeded(t)
	for range 200 {
		var patterns []modelPattern
		var configs []Pattern
		for range 1 + r.IntN(5) {
			p := randomPattern(r)
			patterns, configs = append(patterns, p), append(configs, p.Pattern)
		}
		p := policy(t, configs...)
		for range 3 {
			compareWithModel(t, r, p, patterns, randomClaims(r))
		}
		if t.Failed() {
			return
		}
	}
}

func compareWithModel(t *testing.T, r *rand.Rand, p *Policy, patterns []modelPattern, values map[string]any) {
	t.Helper()
	yields := make([][]string, len(patterns))
	var auto, candidates []string
	for i, pattern := range patterns {
		yields[i] = modelChannels(pattern, values)
		for _, name := range yields[i] {
			candidates = append(candidates, name, strings.ReplaceAll(name, "*", "any"), name+"0", name+":x", strings.TrimSuffix(name, name[len(name)-1:]))
			joined := pattern.Join == JoinAuto || pattern.Join == "" && !strings.Contains(name, "*")
			if joined && modelMatches(name, name) && !slices.Contains(auto, name) {
				auto = append(auto, name)
			}
		}
	}
	claims := &Claims{Values: values}
	if diff := cmp.Diff(auto, autoNames(p, claims)); diff != "" {
		t.Errorf("patterns %+v, claims %q: %s", patterns, values, diff)
	}
	r.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	candidates = append(candidates[:min(len(candidates), 60)], "user:7", "room:a", "aldaba:a", randomText(r), "")
	grants := p.Grants(claims)
	for _, channel := range candidates {
		for _, action := range []Action{Receive, Publish, Presence} {
			want := false
			for i, pattern := range patterns {
				gives := action == Receive || action == Publish && pattern.Publish || action == Presence && pattern.Presence
				want = want || gives && slices.ContainsFunc(yields[i], func(name string) bool { return modelMatches(name, channel) })
			}
			if got := grants.Allows(channel, action); got != want {
				t.Errorf("patterns %+v, claims %q: %s on %q is %v", patterns, values, action, channel, got)
			}
			if got := p.Explain(claims, channel, action); got.Allowed != want {
				t.Errorf("patterns %+v, claims %q: explained: %+v", patterns, values, got)
			}
		}
	}
}

func TestNoTwoUsersShareAChannel(t *testing.T) {
	r := seeded(t)
	p := policy(t, Pattern{Name: "user:{sub}"}, Pattern{Name: "u-{sub}.in:x"}, Pattern{Name: "{sub}:{sub}"})
	owner := map[string]string{}
	for range 20_000 {
		user := randomText(r)
		grants := p.Grants(&Claims{Values: map[string]any{"sub": user}})
		for _, grant := range grants.Auto() {
			if other, taken := owner[grant.Channel]; taken && other != user {
				t.Fatalf("%q and %q share %q", user, other, grant.Channel)
			}
			owner[grant.Channel] = user
		}
		for channel, name := range owner {
			if name != user && grants.Allows(channel, Receive) {
				t.Fatalf("%q may receive on %q of %q", user, channel, name)
			}
			break // one at random, each time
		}
	}
}

func TestNoTwoPairsOfClaimsShareAChannel(t *testing.T) {
	r := seeded(t)
	p := policy(t, Pattern{Name: "x{a}y:{b}"})
	owner := map[string][2]string{}
	for range 20_000 {
		pair := [2]string{randomText(r), randomText(r)}
		for _, channel := range autoNames(p, &Claims{Values: map[string]any{"a": pair[0], "b": pair[1]}}) {
			if other, taken := owner[channel]; taken && other != pair {
				t.Fatalf("%q and %q share %q", pair, other, channel)
			}
			owner[channel] = pair
		}
	}
}
