package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"aldaba/auth"
)

// policyCase is one question to the policy, and the answer it should give.
type policyCase struct {
	Name    string         `yaml:"name"`
	Claims  map[string]any `yaml:"claims"`
	Channel string         `yaml:"channel"`
	Action  string         `yaml:"action"`
	Expect  string         `yaml:"expect"`
}

// readCases reads a policy test file; every fault of it is reported at once.
func readCases(file, userClaim string) ([]policyCase, origins, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, origins{}, fmt.Errorf("cannot read the cases: %w", err)
	}
	var all []policyCase
	from, found := decodeYAML(file, text, &all)
	for i := range all {
		c := &all[i]
		path := fmt.Sprintf("[%d]", i)
		if c.Action == "" {
			c.Action = string(auth.Receive)
		}
		for _, reason := range c.faults(userClaim) {
			found = append(found, from.fault(path, reason))
		}
	}
	if len(all) == 0 && len(found) == 0 {
		found = append(found, fault{origin: origin{file: file}, reason: "there are no cases in it: see `aldaba check --help`"})
	}
	return all, from, found.orNil()
}

// faults is what is wrong with the case itself.
func (c *policyCase) faults(userClaim string) []string {
	var all []string
	if c.Channel == "" {
		all = append(all, "channel is missing")
	}
	if c.Expect != "allow" && c.Expect != "deny" {
		all = append(all, "expect must be allow or deny")
	}
	switch auth.Action(c.Action) {
	case auth.Receive, auth.Publish, auth.Presence:
	default:
		all = append(all, "action must be receive, publish or presence")
	}
	if c.user(userClaim) == "" {
		all = append(all, fmt.Sprintf("claims.%s is missing: it names the user, and no token is accepted without", userClaim))
	}
	return all
}

// user is the value of the user claim, whose dots lead into nested objects.
func (c *policyCase) user(claim string) string {
	var value any = c.Claims
	for key := range strings.SplitSeq(claim, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[key]
	}
	text, _ := value.(string)
	return text
}

// caseReport is how a case went.
type caseReport struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	OK     bool   `json:"ok"`
	Expect string `json:"expect"`
	Got    string `json:"got"`
	auth.Explanation

	at origin
}

// run asks the policy.
func (c *policyCase) run(policy *auth.Policy, userClaim string) caseReport {
	claims := &auth.Claims{User: c.user(userClaim), Values: c.Claims}
	e := policy.Explain(claims, c.Channel, auth.Action(c.Action))
	got := "deny"
	if e.Allowed {
		got = "allow"
	}
	return caseReport{
		Name:        cmp.Or(c.Name, phrase(e.Action, e.Channel)),
		OK:          got == c.Expect,
		Expect:      c.Expect,
		Got:         got,
		Explanation: e,
	}
}

// printFailure says what was expected, what came, and why.
func (r *caseReport) printFailure(w io.Writer) {
	fmt.Fprintf(w, "%v: %s: expected %s, got %s\n", r.at, printable(r.Name), r.Expect, r.Got)
	printReasons(w, r.Reasons)
}
