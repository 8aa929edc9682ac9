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
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"aldaba/app/bench"
	"aldaba/app/bench/crowd"

	"github.com/alecthomas/kong"
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
	Compare  string        `enum:",naive,floor" default:"" placeholder:"PEER" help:"Measure another hub, too, and print ratios: naive is Gin and melody as they come, floor the least that gorilla can do with."`
	Pin      bool          `default:"true" negatable:"" help:"Give the hub a core for itself."`

	URL     string `name:"url" placeholder:"WS" help:"A hub that runs already: ws://HOST[:PORT]/ws, over IPv4 and without TLS."`
	Redis   string `placeholder:"URL" help:"Its Redis, where messages are published: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]."`
	PID     int    `name:"pid" placeholder:"N" help:"Its process, if it runs on this machine: for CPU and memory."`
	Config  string `placeholder:"FILE" help:"Its configuration, for the secret that tokens are signed with, and redis.prefix."`
	Private string `default:"user:{sub}" help:"Its private channels."`
	Room    string `default:"room:{rooms}" help:"Its rooms; tokens have their names in the claim rooms."`

	JSON bool   `name:"json" help:"Print a list of objects."`
	Plot string `placeholder:"FILE.svg" help:"Measure private messages at ten rates and draw latency against rate."`
}

// Help is shown by --help.
func (benchCmd) Help() string {
	return `Starts a hub, a redis-server and load generators as processes of their own, on loopback, and measures: CPU and memory
of the hub's process as the operating system counts them, latency from when a message was due. A flag that a scenario
does not use is refused; all takes --runs and --json only.

    aldaba bench room --burst 8 --compare naive

    aldaba bench private --rate 1000 --url ws://127.0.0.1:8080/ws --redis redis://127.0.0.1:6379 --config config.yaml

    aldaba bench connect --url ws://127.0.0.1:8080/ws --config config.yaml --pid 4711

    aldaba bench all`
}

func (c *benchCmd) Run(ctx context.Context, line *kong.Context, sh *shell) error {
	if err := bench.Refuse(c.Scenario, given(line)); err != nil {
		return usageError{err}
	}
	o, err := c.options(sh)
	if err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	if c.URL != "" {
		if err := c.configuration(sh, &o); err != nil {
			return err
		}
	}
	ctx, stop := untilHangup(ctx)
	defer stop()
	switch {
	case c.Scenario == bench.All:
		return c.all(ctx, sh, o)
	case c.Plot != "":
		return c.plot(ctx, sh, o)
	default:
		return c.measure(ctx, sh, o)
	}
}

// given are the flags that the command line has.
func given(line *kong.Context) (names []string) {
	for _, p := range line.Path {
		if p.Flag != nil {
			names = append(names, p.Flag.Name)
		}
	}
	return names
}

// untilHangup returns a context that ends with the terminal as well, so that what was
// started is ended and its files are removed; but not for nohup.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
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
	if c.Redis != "" {
		o.Redis, err = parseBenchRedis(c.Redis)
	}
	return o, err
}

// parseBenchRedis takes --redis apart. No error repeats it: there may be a password in it.
func parseBenchRedis(text string) (r crowd.Redis, err error) {
	if reason := badRedisURL(text); reason != "" {
		return r, misuse("--redis %s", reason)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" || u.RawQuery != "" {
		return r, misuse("--redis: bench publishes to redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] only")
	}
	if database := strings.Trim(u.Path, "/"); database != "" {
		if r.Database, err = strconv.Atoi(database); err != nil {
			return r, misuse("--redis: the database is a number")
		}
	}
	r.Address = net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "6379"))
	r.User = u.User.Username()
	r.Password, _ = u.User.Password()
	return r, nil
}

// configuration adds what the configuration of the hub at --url says.
func (c *benchCmd) configuration(sh *shell, o *bench.Options) error {
	s, err := loadOrDev(c.Config, sh.environ, hasIssuers)
	if err != nil {
		return err
	}
	i, err := signingIssuer(s)
	if err != nil {
		return err
	}
	o.Issuer, o.Redis.Prefix = s.Auth.Issuers[i], s.Redis.Prefix
	return nil
}

// measure prints what one scenario comes to, beside another hub if asked to. If one of
// them fails, the one before is printed nevertheless.
func (c *benchCmd) measure(ctx context.Context, sh *shell, o bench.Options) error {
	hubs := []string{""}
	if c.Compare != "" {
		hubs = append(hubs, c.Compare)
	}
	var results []bench.Result
	var failed error
	for _, o.Peer = range hubs {
		r, err := bench.Run(ctx, o)
		if err != nil {
			failed = err
			break
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return failed
	}
	var err error
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(results)
	} else {
		err = bench.Print(sh.out, results...)
	}
	return errors.Join(err, failed, failures(results[:1]))
}

// all prints the table of figures that the hub is held to, as far as it came.
func (c *benchCmd) all(ctx context.Context, sh *shell, o bench.Options) error {
	rows := bench.Table(ctx, o)
	var err error
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(rows)
	} else {
		err = bench.PrintTable(sh.out, rows)
	}
	if err == nil && slices.ContainsFunc(rows, func(r bench.Row) bool { return !r.Met }) {
		err = errSaid
	}
	return cmp.Or(ctx.Err(), err)
}

// plot draws the rates that were measured, also if one fails. Its file is there before
// the minutes that they take.
func (c *benchCmd) plot(ctx context.Context, sh *shell, o bench.Options) error {
	f, err := os.Create(c.Plot)
	if err != nil {
		return err
	}
	at, failed := bench.Sweep(ctx, o)
	if len(at) == 0 {
		return errors.Join(failed, f.Close())
	}
	if err := errors.Join(bench.Plot(f, at), f.Close()); err != nil {
		return errors.Join(err, failed)
	}
	if c.JSON {
		err = json.NewEncoder(sh.out).Encode(at)
	} else {
		_, err = fmt.Fprintf(sh.out, "%s: %d rates%s\n", c.Plot, len(at), notHeld(at))
	}
	return cmp.Or(errors.Join(err, failed), failures(at))
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
