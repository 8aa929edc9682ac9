package auth

import (
	"strings"
	"testing"
)

func TestConditions(t *testing.T) {
	claims := claimsOf(t, `{"roles":["admin"],"level":5,"score":1.5,"huge":18446744073709551615,"vast":123456789012345678901234567890,
		"tiny":1e-999,"endless":1e999,"nested":{"a":[{"b":true}]},"nothing":null,"name":"ñ"}`)
	for expression, want := range map[string]string{
		`"admin" in claims.roles`:                            "",
		`claims.level > 4 && claims.level == 5`:              "",
		`claims.score > 1.4`:                                 "",
		`claims.huge == 18446744073709551615u`:               "",
		`claims.vast == "123456789012345678901234567890"`:    "",
		`claims.tiny == 0.0`:                                 "",
		`claims.endless == "1e999"`:                          "",
		`claims.nested.a[0].b == true`:                       "",
		`claims.nothing == null`:                             "",
		`claims.name == "ñ"`:                                 "",
		`!has(claims.suspended)`:                             "",
		`"user" in claims.roles`:                             "condition is false",
		`claims.level == "5"`:                                "condition is false",
		`claims.missing == 1`:                                "condition failed: no such key: missing",
		`claims.name > 1`:                                    "condition failed: no such overload",
		`claims.level / 0 == 1`:                              "condition failed: division by zero",
		`claims.roles.all(x, x == "admin") && claims.x == 1`: "condition failed: no such key: x",
	} {
		p := policy(t, Pattern{Name: "a", If: expression})
		got := p.Explain(claims, "a", Receive)
		if got.Allowed != (want == "") || want != "" && got.Reasons[0].Reason != want {
			t.Errorf("%s: got %+v, want %q", expression, got, want)
		}
	}
}

func TestConditionThatWouldTakeForever(t *testing.T) {
	list := "[" + strings.Repeat("1,", 999) + "1]"
	claims := claimsOf(t, `{"list":`+list+`}`)
	p := policy(t, Pattern{Name: "a", If: `claims.list.all(a, claims.list.all(b, claims.list.all(c, a + b + c == 3)))`})
	got := p.Explain(claims, "a", Receive)
	if got.Allowed || !strings.HasPrefix(got.Reasons[0].Reason, "condition failed: ") {
		t.Errorf("got %+v", got)
	}
	if p.Grants(claims).Allows("a", Receive) {
		t.Error("granted")
	}
}
