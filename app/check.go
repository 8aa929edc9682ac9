package main

import (
	"cmp"
	"fmt"
)

type checkCmd struct {
	Cases  string `arg:"" optional:"" placeholder:"CASES.yaml" help:"A policy test."`
	Config string `placeholder:"FILE" help:"Configuration to check instead of ./config.yaml."`
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
	config, err := loadChecked(c.Config, sh.environ)
	if err != nil {
		return err
	}
	defer config.close()
	fmt.Fprintf(sh.out, "%s: no fault\n", config.origins.file)
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
		one := &cases[i]
		if e, ok := one.run(config.policy, userClaim); !ok {
			one.printFailure(sh.out, from.find(fmt.Sprintf("[%d]", i)), e)
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s went wrong", failed, plural(len(cases), "case"))
	}
	fmt.Fprintf(sh.out, "%s: %s, all as expected\n", c.Cases, plural(len(cases), "case"))
	return nil
}
