package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

type checkCmd struct {
	Cases  string `arg:"" optional:"" placeholder:"CASES.yaml" help:"A policy test."`
	Config string `placeholder:"FILE" help:"Configuration to check instead of ./config.yaml."`
	JSON   bool   `name:"json" help:"Print an object with faults and cases."`
}

// Help is shown by --help.
func (checkCmd) Help() string {
	return `Reports everything that would keep "aldaba serve" from starting, each with its line. Then asks the policy the
cases of a file such as this one, and says for each pattern why an answer is not the expected one:

    # cases.yaml
    - name: anna reads her room          # in words, for the report
      claims: {sub: anna, rooms: [lobby]} # what a verified token would say
      channel: room:lobby
      action: receive                     # receive (if left out), publish or presence
      expect: allow                       # or deny
    - name: and no other
      claims: {sub: anna, rooms: [lobby]}
      channel: room:garden
      expect: deny

Secrets are needed here as they are there; where there are none, any 32 bytes do:

    ALDABA_AUTH_ISSUERS_0_SECRET=$(openssl rand -hex 32) aldaba check cases.yaml --config config.yaml`
}

func (c *checkCmd) Run(sh *shell) error {
	r := &checkReport{Faults: []faultReport{}, Cases: []caseReport{}}
	err := c.check(sh.environ, r)
	if c.JSON {
		if all, ok := errors.AsType[faults](err); ok {
			r.addFaults(all)
		}
		return errors.Join(json.NewEncoder(sh.out).Encode(r), err)
	}
	r.print(sh.out, c.Cases)
	return err
}

// check fills the report. Faults are in the error that it returns.
func (c *checkCmd) check(environ []string, r *checkReport) error {
	config, err := loadChecked(c.Config, environ)
	if err != nil {
		return err
	}
	defer config.close()
	r.File = config.origins.file
	if c.Cases == "" {
		return nil
	}
	userClaim := cmp.Or(config.Auth.Issuers[0].UserClaim, "sub")
	cases, from, err := readCases(c.Cases, userClaim)
	if err != nil {
		return err
	}
	failed := 0
	for i := range cases {
		one := cases[i].run(config.policy, userClaim)
		one.at = from.find(fmt.Sprintf("[%d]", i))
		one.Line = one.at.line
		r.Cases = append(r.Cases, one)
		if !one.OK {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s went wrong", failed, plural(len(cases), "case"))
	}
	return nil
}

// checkReport is what `aldaba check` found.
type checkReport struct {
	File   string        `json:"file,omitempty"` // without fault
	Faults []faultReport `json:"faults"`
	Cases  []caseReport  `json:"cases"`
}

// faultReport is a fault: of a line of a file, or of a variable.
type faultReport struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Variable string `json:"variable,omitempty"`
	Path     string `json:"path,omitempty"`
	Reason   string `json:"reason"`
}

func (r *checkReport) addFaults(all faults) {
	for _, f := range all {
		r.Faults = append(r.Faults, faultReport{f.origin.file, f.origin.line, f.origin.variable, f.path, f.reason})
	}
}

func (r *checkReport) print(w io.Writer, casesFile string) {
	if r.File != "" {
		fmt.Fprintf(w, "%s: no fault\n", r.File)
	}
	failed := false
	for i := range r.Cases {
		if one := &r.Cases[i]; !one.OK {
			one.printFailure(w)
			failed = true
		}
	}
	if len(r.Cases) > 0 && !failed {
		fmt.Fprintf(w, "%s: %s, all as expected\n", casesFile, plural(len(r.Cases), "case"))
	}
}
