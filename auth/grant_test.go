package auth

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func policy(t testing.TB, patterns ...Pattern) *Policy {
	t.Helper()
	p, err := NewPolicy(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// claimsOf returns claims as a token with this payload would have them.
func claimsOf(t testing.TB, payload string) *Claims {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(payload))
	decoder.UseNumber()
	claims := &Claims{}
	if err := decoder.Decode(&claims.Values); err != nil {
		t.Fatal(err)
	}
	return claims
}

// autoNames returns the channels that a session with these claims joins at connect.
func autoNames(p *Policy, claims *Claims) []string {
	var names []string
	for _, grant := range p.Grants(claims).Auto() {
		names = append(names, grant.Channel)
	}
	return names
}

func TestGrantsOfTheDocumentedPatterns(t *testing.T) {
	p := policy(t,
		Pattern{Name: "user:{sub}"},
		Pattern{Name: "room:{rooms}", Presence: true, Publish: true},
		Pattern{Name: "org:{org.id}:news"},
		Pattern{Name: "broadcast"},
		Pattern{Name: "room:*", If: `"admin" in claims.roles`},
	)
	user := p.Grants(claimsOf(t, `{"sub":"42","rooms":["7",9],"org":{"id":5},"roles":[]}`))
	want := []Grant{
		{Channel: "user:42", Pattern: "user:{sub}"},
		{Channel: "room:7", Pattern: "room:{rooms}", Publish: true, Presence: true},
		{Channel: "room:9", Pattern: "room:{rooms}", Publish: true, Presence: true},
		{Channel: "org:5:news", Pattern: "org:{org.id}:news"},
		{Channel: "broadcast", Pattern: "broadcast"},
	}
	if diff := cmp.Diff(want, user.Auto()); diff != "" {
		t.Error(diff)
	}
	for _, channel := range []string{"room:8", "room:70", "room:", "user:43", "user:4", "user:42:x", "org:5", "org:5:news:x", "org:6:news", "broadcast:x", "Broadcast"} {
		if grant, ok := user.Lookup(channel); ok {
			t.Errorf("%s: got %+v", channel, grant)
		}
	}
	admin := p.Grants(claimsOf(t, `{"sub":"1","roles":["admin"]}`))
	if diff := cmp.Diff([]string{"user:1", "broadcast"}, autoNames(p, claimsOf(t, `{"sub":"1","roles":["admin"]}`))); diff != "" {
		t.Error(diff)
	}
	if !admin.Allows("room:8", Receive) || admin.Allows("room:8", Publish) || admin.Allows("room:8:x", Receive) {
		t.Error("an admin may receive in any room, and no more")
	}
}

func TestGrantIsTheUnionOfAllPatterns(t *testing.T) {
	p := policy(t,
		Pattern{Name: "room:*", Presence: true},
		Pattern{Name: "room:{rooms}", Publish: true},
		Pattern{Name: "room:7"},
	)
	grants := p.Grants(claimsOf(t, `{"rooms":["7","8","7",7]}`))
	want := []Grant{
		{Channel: "room:7", Pattern: "room:*", Publish: true, Presence: true},
		{Channel: "room:8", Pattern: "room:*", Publish: true, Presence: true},
	}
	if diff := cmp.Diff(want, grants.Auto()); diff != "" {
		t.Error(diff)
	}
	if grant, _ := grants.Lookup("room:9"); grant != (Grant{Channel: "room:9", Pattern: "room:*", Presence: true}) {
		t.Errorf("got %+v", grant)
	}
	if grants.Allows("room:7", "own") || grants.Allows("room:7", "") {
		t.Error("an unknown action was allowed")
	}
}

func TestGrantsOfNobody(t *testing.T) {
	p := policy(t, Pattern{Name: "broadcast"}, Pattern{Name: "*"})
	for name, grants := range map[string]*Grants{"nil claims": p.Grants(nil), "zero": {}} {
		if len(grants.Auto()) > 0 || grants.Allows("broadcast", Receive) {
			t.Errorf("%s: granted", name)
		}
	}
	if len(policy(t).Grants(&Claims{}).Auto()) > 0 {
		t.Error("a policy without patterns granted")
	}
}

func TestGrantsFillInClaimsOfEveryType(t *testing.T) {
	p := policy(t, Pattern{Name: "c:{c}"})
	for claims, want := range map[string][]string{
		`{"c":"7"}`:                        {"c:7"},
		`{"c":7}`:                          {"c:7"},
		`{"c":-7}`:                         {"c:-7"},
		`{"c":0}`:                          {"c:0"},
		`{"c":12345678901234567890123456}`: {"c:12345678901234567890123456"},
		`{"c":["a",1,"a","1"]}`:            {"c:a", "c:1"},
		`{"c":"a:b*?[]{}% \n\u0000é"}`:     {"c:a%3Ab%2A%3F%5B%5D%7B%7D%25%20%0A%00%C3%A9"},
		`{"c":"A_.@#/|+=~-z"}`:             {"c:A_.@#/|+=~-z"},
		`{"c":"%3A"}`:                      {"c:%253A"},
		`{"c":-0}`:                         nil,
		`{"c":1.0}`:                        nil,
		`{"c":1e3}`:                        nil,
		`{"c":true}`:                       nil,
		`{"c":null}`:                       nil,
		`{"c":{}}`:                         nil,
		`{"c":[]}`:                         nil,
		`{"c":""}`:                         nil,
		`{"c":["a",""]}`:                   nil,
		`{"c":["a",null]}`:                 nil,
		`{"c":["a",["b"]]}`:                nil,
		`{"c":["a",1.5]}`:                  nil,
		`{"C":"a"}`:                        nil,
		`{}`:                               nil,
	} {
		if diff := cmp.Diff(want, autoNames(p, claimsOf(t, claims))); diff != "" {
			t.Errorf("%s: %s", claims, diff)
		}
	}
	for _, value := range []any{7, int64(7), uint64(7)} {
		if diff := cmp.Diff([]string{"c:7"}, autoNames(p, &Claims{Values: map[string]any{"c": value}})); diff != "" {
			t.Errorf("%T: %s", value, diff)
		}
	}
	for _, value := range []any{7.0, "\xff", []string{"a"}, struct{}{}} {
		if names := autoNames(p, &Claims{Values: map[string]any{"c": value}}); names != nil {
			t.Errorf("%T: %v", value, names)
		}
	}
}

func TestGrantsFindNestedAndNamespacedClaims(t *testing.T) {
	p := policy(t, Pattern{Name: "a:{x.y.z}"}, Pattern{Name: "b:{https://example.com/rooms}:{n}"})
	for claims, want := range map[string][]string{
		`{"x":{"y":{"z":"1"}}}`:             {"a:1"},
		`{"x.y.z":"1","x":{"y":{"z":"2"}}}`: {"a:1"},
		`{"x":{"y.z":"1"}}`:                 nil,
		`{"x":"1"}`:                         nil,
		`{"x":{"y":["z"]}}`:                 nil,
		`{"https://example.com/rooms":["7","8"],"n":[1,2]}`:  {"b:7:1", "b:7:2", "b:8:1", "b:8:2"},
		`{"https://example":{"com/rooms":"7"},"n":"a:b"}`:    {"b:7:a%3Ab"},
		`{"https://example.com/rooms":["7","8"],"n":[]}`:     nil,
		`{"https://example.com/rooms":["7","8"],"n":["%2"]}`: {"b:7:%252", "b:8:%252"},
	} {
		if diff := cmp.Diff(want, autoNames(p, claimsOf(t, claims))); diff != "" {
			t.Errorf("%s: %s", claims, diff)
		}
	}
}

func TestGrantsAreBounded(t *testing.T) {
	list := func(n int) []any {
		entries := make([]any, n)
		for i := range entries {
			entries[i] = fmt.Sprint(i)
		}
		return entries
	}
	p := policy(t, Pattern{Name: "a:{a}"}, Pattern{Name: "b:{a}:{b}"}, Pattern{Name: "c:{a}:{b}:{b}", Join: JoinOnRequest})
	for name, c := range map[string]struct {
		a, b  int
		auto  int
		first bool // the first pattern grants
		third bool // the third does
	}{
		"as many as may be": {10_000, 1, 20_000, true, true},
		"one more":          {10_001, 1, 0, false, false},
		"a product":         {100, 100, 10_100, true, true},
		"too large a one":   {101, 100, 101, true, true},
		"an enormous one":   {10_000, 10_000, 10_000, true, true},
	} {
		grants := p.Grants(&Claims{Values: map[string]any{"a": list(c.a), "b": list(c.b)}})
		if got := len(grants.Auto()); got != c.auto {
			t.Errorf("%s: %d channels", name, got)
		}
		if got := grants.Allows("a:99", Receive); got != c.first {
			t.Errorf("%s: first pattern %v", name, got)
		}
		if got := grants.Allows("c:99:0:0", Receive); got != c.third {
			t.Errorf("%s: third pattern %v", name, got)
		}
	}
}

func TestChannelOfAnotherUser(t *testing.T) {
	grants := policy(t, Pattern{Name: "user:{sub}", Publish: true, Presence: true}).Grants(claimsOf(t, `{"sub":"42"}`))
	for _, channel := range []string{
		"user:43", "user:4", "user:420", "user:", "user", "user::42", ":user:42", "user:42:", "USER:42", "user:42 ", "user:42\n", "user:42\x00",
		"user:%34%32", "user:{sub}", "*", "user:*", "user:?2", "user:[4]2", "user:[u]0", "user:4*", "", strings.Repeat(":", 1<<20), strings.Repeat("user:42", 1<<17),
	} {
		for _, action := range []Action{Receive, Publish, Presence} {
			if grants.Allows(channel, action) {
				t.Errorf("%.50q: %s granted", channel, action)
			}
		}
	}
}

func TestChannelRoom1GrantedRoom10Asked(t *testing.T) {
	grants := policy(t, Pattern{Name: "room:{rooms}"}).Grants(claimsOf(t, `{"rooms":["1"]}`))
	for channel, want := range map[string]bool{"room:1": true, "room:10": false, "room:01": false, "room:": false, "room:1:0": false} {
		if got := grants.Allows(channel, Receive); got != want {
			t.Errorf("%s: got %v", channel, got)
		}
	}
}

func TestChannelOfAUserWithAHostileName(t *testing.T) {
	p := policy(t, Pattern{Name: "user:{sub}"}, Pattern{Name: "user:{sub}:in"})
	names := []string{
		"*", "?", "a:b", "a", "a:in", "{", "{sub}", "[u]0", "a\x00", "a\n", "a\r\n", "ɐ", "é", "e\u0301", "%2A", "%", "%25", " ", "\u202e", "\ufffd", "..", "in", "42:in",
	}
	owner := map[string]string{}
	for _, name := range names {
		grants := p.Grants(&Claims{Values: map[string]any{"sub": name}})
		auto := grants.Auto()
		if len(auto) != 2 {
			t.Errorf("%q: got %+v", name, auto)
		}
		for _, grant := range auto {
			if other, taken := owner[grant.Channel]; taken {
				t.Errorf("%q and %q share %s", name, other, grant.Channel)
			}
			owner[grant.Channel] = name
			if !ValidChannel(grant.Channel) {
				t.Errorf("%q: %q is not valid", name, grant.Channel)
			}
		}
	}
	for channel, name := range owner {
		for _, other := range names {
			grants := p.Grants(&Claims{Values: map[string]any{"sub": other}})
			if got := grants.Allows(channel, Receive); got != (other == name) {
				t.Errorf("%q on %s of %q: %v", other, channel, name, got)
			}
		}
	}
}

func TestChannelOfAUserWithAMegabyteForAName(t *testing.T) {
	p := policy(t, Pattern{Name: "user:{sub}"})
	for _, c := range []struct {
		name string
		want int
	}{
		{strings.Repeat("x", 250), 1},
		{strings.Repeat("x", 251), 0},
		{strings.Repeat("é", 41), 1}, // six bytes each
		{strings.Repeat("é", 42), 0},
		{strings.Repeat("x", 1<<20), 0},
	} {
		grants := p.Grants(&Claims{Values: map[string]any{"sub": c.name}})
		if got := len(grants.Auto()); got != c.want {
			t.Errorf("%d bytes: %d channels", len(c.name), got)
		}
		if grants.Allows("user:", Receive) || grants.Allows("user:"+c.name[:50], Receive) {
			t.Errorf("%d bytes: granted something else", len(c.name))
		}
	}
	list := p.Grants(&Claims{Values: map[string]any{"sub": []any{"a", strings.Repeat("x", 255), strings.Repeat("x", 1<<20)}}})
	if len(list.Auto()) != 1 {
		t.Errorf("got %+v", list.Auto())
	}
}

func TestChannelOfTheHubsOwn(t *testing.T) {
	p := policy(t, Pattern{Name: "{a}:{b}"}, Pattern{Name: "*:*"}, Pattern{Name: "ald{b}:x"})
	for _, claims := range []string{`{"a":"aldaba","b":"control"}`, `{"a":"aldaba","b":"aba"}`} {
		grants := p.Grants(claimsOf(t, claims))
		for _, grant := range grants.Auto() {
			if strings.HasPrefix(grant.Channel, "aldaba:") {
				t.Errorf("joined %s", grant.Channel)
			}
		}
		for _, channel := range []string{"aldaba:control", "aldaba:aba", "aldaba:x", "aldaba:"} {
			if grants.Allows(channel, Receive) {
				t.Errorf("granted %s", channel)
			}
		}
	}
}

func TestLookupInALongList(t *testing.T) {
	p := policy(t, Pattern{Name: "room:{rooms}", Join: JoinOnRequest})
	rooms := make([]any, 5000)
	for i := range rooms {
		rooms[i] = json.Number(fmt.Sprint(3 * i))
	}
	grants := p.Grants(&Claims{Values: map[string]any{"rooms": rooms}})
	if len(grants.Auto()) > 0 {
		t.Error("joined without being asked")
	}
	for i := range 15_010 {
		if got, want := grants.Allows(fmt.Sprintf("room:%d", i), Receive), i%3 == 0 && i < 15_000; got != want {
			t.Errorf("room:%d: got %v", i, got)
		}
	}
}
