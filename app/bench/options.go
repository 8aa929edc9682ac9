// Package bench measures a hub as its sessions see it: thousands of pages connect,
// messages go through Redis, and what arrives is counted. The hub's CPU and memory
// are the operating system's figures.
//
// It starts the hub, a redis-server and the load generators as processes of their
// own, the hub pinned to one core and the rest to the others; or it is pointed at a
// hub that runs already.
package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"aldaba/app/bench/crowd"
	"aldaba/auth"
)

// Options say what to measure, and where.
type Options struct {
	Scenario string        // one of Scenarios
	Sessions int           // pages connected
	Rate     float64       // messages a second; 0: as fast as it holds
	Burst    int           // messages published to a room at once
	Window   int           // private messages under way at most, without a rate
	Size     int           // bytes of a message
	For      time.Duration // measured in each run
	Warm     time.Duration // before
	Runs     int           // medians are taken over these
	Durable  bool          // private messages are recorded
	Churn    float64       // part of the sessions that reconnects each minute
	Pin      bool          // the hub has a core for itself

	// A hub that runs already; empty: one is started.
	URL     string // ws://HOST[:PORT][/PATH]
	Redis   crowd.Redis
	PID     int // the hub's, if it is on this machine; 0: CPU and memory are unknown
	Issuer  auth.Issuer
	Private string // its private channels, with {sub} for the user
	Room    string // its rooms, with {rooms} for the name

	Executable string    // aldaba
	Peer       string    // what is started instead of aldaba: naive or floor
	Progress   io.Writer // how far it is
	Live       bool      // Progress is a terminal: one line, overwritten
}

// Scenarios are what can be measured.
var Scenarios = []string{"idle", "room", "private", "connect", "resume", "expire", "mixed"}

// Check returns what is wrong with o's values, for people.
func (o *Options) Check() error {
	const day = 24 * time.Hour
	switch {
	case !slices.Contains(Scenarios, o.Scenario) && o.Scenario != All:
		return fmt.Errorf("there is no scenario %s", o.Scenario)
	case o.Sessions < 1 || o.Sessions > 1_000_000:
		return errors.New("--sessions is from 1 to 1000000")
	case o.Size < 64 || o.Size > 1000:
		return errors.New("--size is from 64 to 1000 bytes")
	case o.Runs < 1 || o.Runs > 100:
		return errors.New("--runs is from 1 to 100")
	case o.For <= 0 || o.For > day:
		return errors.New("--duration is more than 0 and at most 24h")
	case o.Scenario == "expire" && o.For < 2*time.Second:
		return errors.New("--duration of expire is at least 2s: tokens end within it")
	case o.Warm < 0 || o.Warm > day:
		return errors.New("--warm is from 0s to 24h")
	case o.Rate != 0 && !within(o.Rate, 0.1, 10_000_000):
		return errors.New("--rate is from 0.1 to 10000000, or 0 for as fast as it holds")
	case o.Burst < 1 || o.Burst > 1000:
		return errors.New("--burst is from 1 to 1000")
	case o.Window < 1 || o.Window > 1_000_000:
		return errors.New("--window is from 1 to 1000000")
	case !within(o.Churn, 0, 1000):
		return errors.New("--churn is from 0 to 1000")
	case o.Churn > 0 && o.Rate == 0:
		return errors.New("--churn needs a --rate")
	case !o.own():
		return o.checkHub()
	}
	return nil
}

// within is false for what is no number.
func within(v, least, most float64) bool { return v >= least && v <= most }

// checkHub looks at what is said of a hub that runs already.
func (o *Options) checkHub() error {
	if _, err := o.hub(); err != nil {
		return err
	}
	switch {
	case o.Peer != "":
		return fmt.Errorf("%s is started here, and has no --url", o.Peer)
	case o.Redis.Address == "" && used(o.Scenario, "redis"):
		return errors.New("--url needs --redis: messages are published there")
	case o.PID < 0:
		return errors.New("--pid is the number of a process")
	case o.PID == 0 && o.Scenario == "idle":
		return errors.New("idle needs --pid: the memory of a hub is known on its own machine only")
	case !strings.Contains(o.Private, "{sub}"):
		return errors.New("--private needs {sub}, where the user stands")
	case !strings.Contains(o.Room, "{rooms}") && o.Scenario == "mixed":
		return errors.New("mixed needs {rooms} in --room, where the name of each room stands")
	}
	return nil
}

// own reports whether the hub is started here.
func (o *Options) own() bool { return o.URL == "" }
