package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"aldaba/app/bench"
)

type benchCmd struct {
	Scenario string `arg:"" enum:"idle,room,private,connect,resume,expire,mixed,all" help:"What to measure: idle, room, private, connect, resume, expire, mixed; all is the table of docs/performance.md."`

	Sessions int           `default:"10000" help:"Sessions that are connected."`
	Rate     float64       `placeholder:"N" help:"Messages a second; as fast as it holds if not said."`
	Duration time.Duration `default:"5s" help:"How long each run is measured."`
	Warm     time.Duration `default:"2s" help:"How long it runs before."`
	Runs     int           `default:"3" help:"Runs that the medians are taken of; idle with --url is one run: another would find the heap that it leaves."`
	Size     int           `default:"200" help:"Bytes of a message."`
	Burst    int           `default:"1" help:"Messages published to the room at once."`
	Window   int           `default:"1000" help:"Private messages under way at most, without --rate."`
	Durable  bool          `help:"Private messages are recorded, and sessions resume."`
	Churn    float64       `placeholder:"PART" help:"Part of the sessions that reconnects each minute, such as 0.1; needs --rate."`
	Compare  string        `enum:",naive" default:"" placeholder:"naive" help:"Measure the naive gin and melody hub, too, and print ratios."`
	Pin      bool          `default:"true" negatable:"" help:"Give the hub a core for itself."`

	URL     string `name:"url" placeholder:"WS" help:"A hub that runs already: ws://HOST:PORT/ws."`
	Redis   string `placeholder:"URL" help:"Its Redis, where messages are published: redis://[:PASSWORD@]HOST:PORT."`
	PID     int    `name:"pid" placeholder:"N" help:"Its process, if it runs on this machine: for CPU and memory."`
	Config  string `placeholder:"FILE" help:"Its configuration, for the secret that tokens are signed with."`
	Private string `default:"user:{sub}" help:"Its private channels."`
	Room    string `default:"room:bench" help:"Its room; tokens have \"bench\" in the claim rooms."`

	JSON bool   `name:"json" help:"Print a list of objects."`
	Plot string `placeholder:"FILE.svg" help:"Measure private messages at ten rates and draw latency against rate."`
}

// Help is shown by --help.
func (benchCmd) Help() string {
	return `Starts a hub, a redis-server and load generators as processes of their own, on loopback, and measures: CPU and memory
of the hub's process as the operating system counts them, latency from when a message was due.

    aldaba bench room --burst 8 --compare naive

    aldaba bench private --rate 1000 --url ws://127.0.0.1:8080/ws --redis redis://127.0.0.1:6379 --config config.yaml

    aldaba bench all`
}

func (c *benchCmd) Run(ctx context.Context, sh *shell) error {
	o, err := c.options(sh)
	if err != nil {
		return err
	}
	if c.Scenario == "all" {
		return c.all(ctx, sh, o)
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	if c.Plot != "" {
		return c.plot(ctx, sh, o)
	}
	results := make([]bench.Result, 0, 2)
	for _, o.Naive = range []bool{false, true}[:1+len(c.Compare)/len("naive")] {
		r, err := bench.Run(ctx, o)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(results)
	} else {
		err = bench.Print(sh.out, results...)
	}
	return cmp.Or(err, failures(results[:1]))
}

// failures says what went wrong in any of the results.
func failures(results []bench.Result) error {
	var all error
	for i := range results {
		all = errors.Join(all, results[i].Failure())
	}
	return all
}

// options are what the flags say.
func (c *benchCmd) options(sh *shell) (bench.Options, error) {
	executable, err := os.Executable()
	if err != nil {
		return bench.Options{}, err
	}
	o := bench.Options{
		Scenario: c.Scenario, Sessions: c.Sessions, Rate: c.Rate, Burst: c.Burst, Window: c.Window, Size: c.Size,
		For: c.Duration, Warm: c.Warm, Runs: c.Runs, Durable: c.Durable, Churn: c.Churn, Pin: c.Pin,
		URL: c.URL, PID: c.PID, Private: c.Private, Room: c.Room,
		Executable: executable, Progress: sh.err, Live: isTerminal(sh.err),
	}
	if c.URL == "" {
		return o, nil
	}
	s, err := loadOrDev(c.Config, sh.environ, hasIssuers)
	if err != nil {
		return o, err
	}
	i, err := signingIssuer(s)
	if err != nil {
		return o, err
	}
	o.Issuer = s.Auth.Issuers[i]
	err = c.redis(&o)
	return o, err
}

// redis takes --redis apart.
func (c *benchCmd) redis(o *bench.Options) error {
	if c.Redis == "" {
		return nil
	}
	u, err := url.Parse(c.Redis)
	if err != nil || u.Scheme != "redis" || u.Hostname() == "" {
		return misuse("--redis %s: bench publishes to redis://[:PASSWORD@]HOST[:PORT] only", c.Redis)
	}
	o.Redis = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	o.Password, _ = u.User.Password()
	return nil
}

// all prints the table of figures that the hub is held to.
func (c *benchCmd) all(ctx context.Context, sh *shell, o bench.Options) error {
	if c.URL != "" || c.Compare != "" || c.Plot != "" {
		return misuse("all starts its own hub, and neither compares nor plots")
	}
	rows, err := bench.Table(ctx, o)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(rows)
	} else {
		err = bench.PrintTable(sh.out, rows)
	}
	if err == nil && slices.ContainsFunc(rows, func(r bench.Row) bool { return !r.Met }) {
		return errSaid
	}
	return err
}

func (c *benchCmd) plot(ctx context.Context, sh *shell, o bench.Options) error {
	if c.Scenario != "private" && c.Scenario != "room" && c.Scenario != "mixed" {
		return misuse("--plot goes with private, room and mixed")
	}
	at, err := bench.Sweep(ctx, o)
	if err != nil {
		return err
	}
	f, err := os.Create(c.Plot)
	if err != nil {
		return err
	}
	if err := errors.Join(bench.Plot(f, at), f.Close()); err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(at)
	} else {
		_, err = fmt.Fprintf(sh.out, "%s: %d rates%s\n", c.Plot, len(at), notHeld(at))
	}
	return cmp.Or(err, failures(at))
}

// notHeld says how many of the rates were more than the hub holds.
func notHeld(at []bench.Result) string {
	n := 0
	for i := range at {
		if at[i].NotHeld {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them were not held", n)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
