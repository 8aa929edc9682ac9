package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"aldaba/app/bench/crowd"
	"aldaba/auth"
)

// stage is where one run takes place: a redis-server and hubs, or those that are
// there already.
type stage struct {
	options *Options
	dir     string
	hub     []int // cores
	others  []int

	redis   crowd.Redis
	secret  string
	address string // of a hub that runs already, resolved
	hubs    []*replica
	all     []*process
}

// replica is one hub under test.
type replica struct {
	url     string // ws://HOST:PORT/ws
	admin   string // HOST:PORT; empty: unknown
	pid     int    // 0: unknown
	process *process
}

// setStage starts what o needs, hubs of it. The stage is to be struck in any case.
func setStage(ctx context.Context, o *Options, hubs int) (*stage, error) {
	s := &stage{options: o, redis: o.Redis}
	var err error
	if !o.own() {
		err = s.find(ctx)
		return s, err
	}
	if s.hub, s.others, err = cores(o.Pin); err != nil {
		return s, err
	}
	s.secret = rand.Text() + rand.Text()
	if s.dir, err = os.MkdirTemp("", "aldaba-bench-"); err != nil {
		return s, err
	}
	if err := s.startRedis(ctx); err != nil {
		return s, err
	}
	for range hubs {
		if err := s.startHub(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// find looks for a hub that runs already.
func (s *stage) find(ctx context.Context) error {
	u, err := s.options.hub()
	if err != nil {
		return err
	}
	if s.address, err = locate(ctx, u); err != nil {
		return err
	}
	if s.options.PID != 0 {
		if _, err := usageOf(s.options.PID); err != nil {
			return fmt.Errorf("--pid: %w", err)
		}
	}
	s.hubs = []*replica{{url: u.String(), pid: s.options.PID}}
	return nil
}

// strike ends all that was started.
func (s *stage) strike() {
	for _, p := range s.all {
		p.kill()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // of the system's temporary files
	}
}

func (s *stage) issuer() auth.Issuer {
	if !s.options.own() {
		return s.options.Issuer
	}
	return auth.Issuer{Algorithm: "HS256", Secret: s.secret}
}

func (s *stage) startRedis(ctx context.Context) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return errNoRedis
	}
	if s.redis.Address, _, err = freeAddresses(ctx); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s.redis.Address)
	if err != nil {
		return err
	}
	// gosec: the arguments are ours.
	cmd := exec.CommandContext(ctx, path, "--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no", "--logfile", s.dir+"/redis.log") //nolint:gosec // see above
	p, err := start("redis-server", s.others, cmd)
	if err != nil {
		return err
	}
	s.all = append(s.all, p)
	return p.await(ctx, dialable(s.redis.Address))
}

func (s *stage) startHub(ctx context.Context) error {
	address, admin, err := freeAddresses(ctx)
	if err != nil {
		return err
	}
	r := &replica{url: "ws://" + address + "/ws", admin: admin}
	// What this process' environment says of a hub's configuration is for another one.
	environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ALDABA_") })
	args := []string{"bench-peer", s.options.Peer, "--listen", address, "--redis", s.redis.Address}
	if s.options.Peer != "" {
		environ = append(environ, "PEER_SECRET="+s.secret)
	} else {
		text, err := json.Marshal(s.config(address, admin))
		if err != nil {
			return err
		}
		file, err := temporary(s.dir, "hub-"+address+".yaml", string(text)) // JSON is YAML
		if err != nil {
			return err
		}
		args = []string{"serve", "--config", file}
	}
	cmd := exec.CommandContext(ctx, s.options.Executable, args...) //nolint:gosec // this very program
	cmd.Env = environ
	if r.process, err = start("the hub", s.hub, cmd); err != nil {
		return err
	}
	r.pid = r.process.cmd.Process.Pid
	s.all = append(s.all, r.process)
	s.hubs = append(s.hubs, r)
	return r.process.await(ctx, ready(address))
}

// recorded are the private channels with a history, of a hub that is started here.
const recorded = "log:{sub}"

// history is what the recorded channels of a hub that is started here keep.
const historySize = 100

// config is that of a hub under test. Limits are out of the way: everybody comes from
// one machine.
func (s *stage) config(listen, admin string) map[string]any {
	const plenty = 1_000_000
	return map[string]any{
		"listen":       listen,
		"admin_listen": admin,
		"redis":        map[string]any{"url": "redis://" + s.redis.Address},
		"auth":         map[string]any{"issuers": []any{map[string]any{"algorithm": "HS256", "secret": s.secret}}},
		"channels": []any{
			map[string]any{"name": "user:{sub}"},
			map[string]any{"name": "room:{rooms}"},
			map[string]any{"name": "log:{logs}", "history": map[string]any{"size": historySize, "ttl": time.Hour.String()}},
		},
		"limits": map[string]any{"sessions_per_address": plenty, "sessions_per_user": plenty, "connects_per_second": plenty},
		"log":    map[string]any{"level": "warn"},
	}
}

// channels returns the channels that messages are published to.
func (s *stage) channels() (private, room string) {
	switch {
	case !s.options.own():
		return s.options.Private, s.options.Room
	case s.options.Durable:
		return recorded, "room:{rooms}"
	default:
		return "user:{sub}", "room:{rooms}"
	}
}
