package auth

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	p := policy(t,
		Pattern{Name: "user:{sub}"},
		Pattern{Name: "room:{rooms}", Publish: true},
		Pattern{Name: "room:*", Presence: true, If: `"admin" in claims.roles`},
		Pattern{Name: "org:{org.id}:team:{teams}"},
	)
	claims := claimsOf(t, `{"sub":"42","rooms":["1","2"],"roles":["staff"],"org":{"id":5},"teams":["a:b"]}`)
	const other = "does not match the channel's name"
	for _, c := range []struct {
		channel string
		action  Action
		claims  *Claims
		allowed bool
		reasons []string
	}{
		{"user:42", Receive, claims, true, []string{`claim "sub" is "42"`, other, other, other}},
		{"user:43", Receive, claims, false, []string{`claim "sub" is "42", not "43"`, other, other, other}},
		{"user:42", Publish, claims, false, []string{"pattern grants no publish", other, other, other}},
		{"room:2", Publish, claims, true, []string{other, `claim "rooms" contains "2"`, "condition is false", other}},
		{"room:2", Presence, claims, false, []string{other, "pattern grants no presence", "condition is false", other}},
		{"room:7", Receive, claims, false, []string{other, `claim "rooms" does not contain "7"`, "condition is false", other}},
		{
			"room:7", Presence, claimsOf(t, `{"roles":["admin"]}`), true,
			[]string{other, `claim "rooms" is missing`, "matches the channel's name, condition is true", other},
		},
		{
			"room:7", Receive, claimsOf(t, `{"rooms":[true]}`), false,
			[]string{other, `claim "rooms" has an entry that is a boolean`, "condition failed: no such key: roles", other},
		},
		{"room:7", Receive, claimsOf(t, `{"rooms":1.5,"roles":[]}`), false, []string{other, `claim "rooms" is not a whole number`, "condition is false", other}},
		{"org:5:team:a%3Ab", Receive, claims, true, []string{other, other, other, `claim "org.id" is "5", claim "teams" is "a%3Ab"`}},
		{"org:6:team:a%3Ab", Receive, claims, false, []string{other, other, other, `claim "org.id" is "5", not "6"`}},
		{"nowhere", Receive, claims, false, []string{other, other, other, other}},
		{"", Receive, claims, false, []string{"a channel's name is not empty"}},
		{"user:*", Receive, claims, false, []string{"a channel's name consists of A-Z a-z 0-9 _ . : @ # / | + = ~ - %"}},
		{"aldaba:control", Receive, claims, false, []string{"names that begin with aldaba: are the hub's own"}},
		{strings.Repeat("x", 256), Receive, claims, false, []string{"a channel's name has at most 255 bytes"}},
		{"user:42", "own", claims, false, []string{`"own" is not an action: receive, publish or presence`}},
		{"user:42", Receive, nil, false, []string{"there are no claims"}},
		{
			"user:x", Receive, claimsOf(t, `{"sub":"`+strings.Repeat("x", 252)+`"}`), false,
			[]string{"filled in with the claims it is no channel: a channel's name has at most 255 bytes", other, other, other},
		},
		{"user:x", Receive, claimsOf(t, `{"sub":"`+strings.Repeat("x", 256)+`"}`), false, []string{`claim "sub" is too long for a channel's name`, other, other, other}},
	} {
		got := p.Explain(c.claims, c.channel, c.action)
		var reasons []string
		for _, reason := range got.Reasons {
			reasons = append(reasons, reason.Reason)
		}
		if diff := cmp.Diff(c.reasons, reasons); diff != "" || got.Allowed != c.allowed {
			t.Errorf("%s on %.50q: allowed %v %s", c.action, c.channel, got.Allowed, diff)
		}
		if got.Allowed != p.Grants(c.claims).Allows(c.channel, c.action) {
			t.Errorf("%s on %.50q: grants disagree", c.action, c.channel)
		}
	}
}

func TestExplainNamesTheClaims(t *testing.T) {
	p := policy(t, Pattern{Name: "org:{org.id}:team:{teams}"})
	got := p.Explain(claimsOf(t, `{"org":{"id":5},"teams":["a","b"]}`), "org:5:team:b", Receive)
	want := `{"channel":"org:5:team:b","action":"receive","allowed":true,"reasons":[{"pattern":"org:{org.id}:team:{teams}","granted":true,` +
		`"claim":"org.id, teams","reason":"claim \"org.id\" is \"5\", claim \"teams\" contains \"b\""}]}`
	if diff := cmp.Diff(want, string(must(json.Marshal(got)))); diff != "" {
		t.Error(diff)
	}
}

func TestExplainWithoutPatterns(t *testing.T) {
	got := policy(t).Explain(&Claims{}, "a", Receive)
	if got.Allowed || len(got.Reasons) != 1 || got.Reasons[0].Reason != "there are no patterns" {
		t.Errorf("got %+v", got)
	}
}
