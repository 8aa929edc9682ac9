package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"aldaba/auth"
)

type explainCmd struct {
	Token   string `required:"" placeholder:"JWT" help:"The token; - reads it from standard input."`
	Channel string `required:"" help:"The channel in question."`
	Action  string `enum:"receive,publish,presence" default:"receive" help:"receive, publish or presence."`
	Config  string `placeholder:"FILE" help:"Configuration with issuers and channels."`
	JSON    bool   `name:"json" help:"Print an object."`
}

// Help is shown by --help.
func (explainCmd) Help() string {
	return `Says which pattern grants it and by which claim, or for each pattern why not. Ends with 0 if it is allowed, with 1
if not. Without --config that is as ./config.yaml says, or the running "aldaba dev".

    aldaba explain --token "$TOKEN" --channel room:lobby --action publish`
}

func (c *explainCmd) Run(ctx context.Context, sh *shell) error {
	token, err := readToken(sh, c.Token)
	if err != nil {
		return err
	}
	j, err := c.judge(sh.environ)
	if err != nil {
		return err
	}
	defer j.close()
	claims, err := j.verifier.Verify(ctx, token)
	if err != nil {
		return fmt.Errorf("no channel is open to this token: %w%s", err, expiryHint(err))
	}
	e := j.policy.Explain(claims, c.Channel, auth.Action(c.Action))
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(struct {
			User string `json:"user"`
			auth.Explanation
		}{claims.User, e})
	} else {
		printExplanation(sh.out, claims.User, e)
	}
	if err == nil && !e.Allowed {
		return errSaid
	}
	return err
}

// judge is made of the configuration, or of the running development hub's.
func (c *explainCmd) judge(environ []string) (*judge, error) {
	s, err := loadOrDev(c.Config, environ, hasIssuers)
	if err != nil {
		return nil, err
	}
	if !hasIssuers(&s.Config) {
		return nil, errors.New("no key to verify with: start `aldaba dev`, or name a configuration that has auth.issuers with --config")
	}
	v := &validator{settings: s}
	j := v.judge()
	if err := v.faults.orNil(); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func expiryHint(err error) string {
	if errors.Is(err, auth.ErrExpiredToken) {
		return "; make another with `aldaba token`"
	}
	return ""
}

// readToken returns the token that an argument gives, or standard input for -.
func readToken(sh *shell, arg string) (string, error) {
	const longest = 64 << 10
	if arg == "-" {
		text, err := io.ReadAll(io.LimitReader(sh.in, longest))
		if err != nil {
			return "", fmt.Errorf("cannot read the token: %w", err)
		}
		arg = string(text)
	}
	if arg = strings.TrimSpace(arg); arg == "" {
		return "", misuse("the token is empty: make one with `aldaba token --sub USER`")
	}
	return arg, nil
}

func printExplanation(w io.Writer, user string, e auth.Explanation) {
	verdict, may := "denied", "may not"
	if e.Allowed {
		verdict, may = "allowed", "may"
	}
	fmt.Fprintf(w, "%s: %s %s %s\n", verdict, printable(user), may, phrase(e.Action, e.Channel))
	printReasons(w, e.Reasons)
}

// phrase is an action in words.
func phrase(a auth.Action, channel string) string {
	channel = printable(channel)
	switch a {
	case auth.Publish:
		return "publish to " + channel
	case auth.Presence:
		return "see who is in " + channel
	default:
		return "receive " + channel
	}
}

// printReasons lists what each pattern had to say, in a column.
func printReasons(w io.Writer, reasons []auth.Reason) {
	width := 0
	for _, r := range reasons {
		width = max(width, len(r.Pattern))
	}
	for _, r := range reasons {
		mark := "no "
		if r.Granted {
			mark = "yes"
		}
		if r.Pattern == "" {
			fmt.Fprintf(w, "  %s  %s\n", mark, printable(r.Reason))
			continue
		}
		fmt.Fprintf(w, "  %s  %-*s  %s\n", mark, width, r.Pattern, printable(r.Reason))
	}
}
