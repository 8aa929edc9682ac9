package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitMisuse = 2
)

// cli is every verb.
type cli struct {
	Dev         devCmd         `cmd:"" help:"Start everything in one process, with a demo page; needs nothing else."`
	Serve       serveCmd       `cmd:"" help:"Serve sessions, as one replica of many."`
	Token       tokenCmd       `cmd:"" help:"Make a token."`
	Publish     publishCmd     `cmd:"" help:"Publish one message."`
	Tail        tailCmd        `cmd:"" help:"Watch messages: all that pass through Redis, or what one user sees."`
	Explain     explainCmd     `cmd:"" help:"Say why a token may use a channel, or why not."`
	Check       checkCmd       `cmd:"" help:"Check the configuration, and the cases of a policy test."`
	Bench       benchCmd       `cmd:"" help:"Measure a hub: memory, CPU, rates and latencies."`
	Version     versionCmd     `cmd:"" help:"Say which version this is."`
	Healthcheck healthcheckCmd `cmd:"" hidden:"" help:"Ask a running hub whether it is alive, for containers."`
	BenchCrowd  benchCrowdCmd  `cmd:"" hidden:""`
	BenchPeer   benchPeerCmd   `cmd:"" hidden:""`
}

// usageError is a fault of the command line, not of the world.
type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSaid means that the output says all there is to say about the failure.
var errSaid = errors.New("said")

// run obeys one command line and returns the exit code.
func run(ctx context.Context, args []string, sh *shell) int {
	helped := false
	parser, err := kong.New(&cli{},
		kong.Name("aldaba"),
		kong.Description("A backend knocks; only the doors the message is for hear it."),
		kong.Writers(sh.out, sh.err),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(sh),
	)
	if err != nil {
		panic(err) // the struct tags above are wrong
	}
	if len(args) == 0 {
		fmt.Fprintln(sh.err, "aldaba: say what to do: `aldaba dev` starts everything, `aldaba --help` lists the rest")
		return exitMisuse
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return exitDone
	case err != nil:
		verb := ""
		if p := (*kong.ParseError)(nil); errors.As(err, &p) && p.Context.Selected() != nil {
			verb = " " + p.Context.Selected().Name
		}
		fmt.Fprintf(sh.err, "aldaba: %v; see `aldaba%s --help`\n", err, verb)
		return exitMisuse
	}
	return report(sh, command.Run())
}

// report tells people what went wrong, and programs by the exit code.
func report(sh *shell, err error) int {
	var usage usageError
	var all faults
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSaid):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(sh.err, "aldaba: %v\n", err)
		return exitMisuse
	case errors.As(err, &all) && len(all) > 1:
		fmt.Fprintf(sh.err, "aldaba: %s\n%v\n", plural(len(all), "fault"), all)
		return exitFailed
	default:
		fmt.Fprintf(sh.err, "aldaba: %v\n", err)
		return exitFailed
	}
}
