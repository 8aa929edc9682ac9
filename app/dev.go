package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"aldaba/app/server"
	"aldaba/auth"
	"aldaba/hub/broker"
)

type devCmd struct {
	Listen      string `placeholder:"ADDRESS" help:"Loopback address to serve on (127.0.0.1:8080, or the next free port)."`
	RedisListen string `placeholder:"ADDRESS" help:"Loopback address of the embedded Redis (127.0.0.1:6379, or the next free port)."`
	Redis       string `placeholder:"URL" help:"A Redis to use instead of the embedded one."`
}

// Help is shown by --help.
func (devCmd) Help() string {
	return `An embedded Redis, a signing key for this run, a few users, and a page to try it all on. For this machine only. It
reads no file; of the environment it takes everything but ALDABA_AUTH_*, ALDABA_CHANNELS_* and ALDABA_PUBLISHERS_*,
which it makes itself, and ALDABA_TLS_*. While it runs, the other verbs find it without being told where.

    aldaba dev

    aldaba dev --listen 127.0.0.1:3000 --redis redis://127.0.0.1:6379`
}

func (c *devCmd) Run(ctx context.Context, sh *shell) error {
	if c.Redis != "" && c.RedisListen != "" {
		return misuse("--redis and --redis-listen do not go together: a redis that is there needs no embedded one")
	}
	if err := c.check(); err != nil {
		return err
	}
	s, err := c.settings(sh.environ)
	if err != nil {
		return err
	}
	log := newLogger(sh.err, s.Log)
	slog.SetDefault(log) // what fetches keys in the background logs there
	p, err := c.plan(ctx, s, log)
	if err != nil {
		return err
	}
	one, err := newProgram(p)
	if err != nil {
		return err
	}
	state := devState{PID: os.Getpid(), URL: pageURL(p.public), Redis: redisURL(&p), Secret: s.Auth.Issuers[0].Secret}
	if err := state.save(); err != nil {
		log.Warn("the other verbs will not find this hub: its key could not be saved", "error", err)
	}
	defer state.remove()
	if ctx.Err() == nil {
		printBanner(sh.out, state, &p, isForeignRedis(ctx, state.Redis))
	}
	return one.Run(ctx)
}

const loopbackHint = "`aldaba dev` listens on 127.0.0.1 or [::1] only, since anybody may be any user there: `aldaba serve` is for others"

// check finds what is wrong with the flags.
func (c *devCmd) check() error {
	if c.Listen != "" {
		if reason := badAddress(c.Listen); reason != "" {
			return misuse("--listen: %s", reason)
		}
		if host, _, _ := net.SplitHostPort(c.Listen); !server.IsLoopback(host) {
			return misuse("--listen: %s", loopbackHint)
		}
	}
	if c.Redis != "" {
		if reason := badRedisURL(c.Redis); reason != "" {
			return misuse("--redis %s", reason)
		}
	}
	return nil
}

// settings are the defaults, the demo, the environment, and the flags.
func (c *devCmd) settings(environ []string) (*settings, error) {
	s := &settings{Config: defaultConfig(), origins: newOrigins("aldaba dev"), dev: true}
	s.Drain = DrainConfig{}
	all := overlay(&s.Config, s.origins, configVariables(environ))
	for path, at := range s.origins.of {
		for _, of := range []string{"auth", "channels", "publishers"} {
			if strings.HasPrefix(path, of) {
				all = append(all, fault{origin: at, reason: "`aldaba dev` makes its own users, keys and patterns: unset it, or use `aldaba serve`"})
			}
		}
		if strings.HasPrefix(path, "tls.") {
			all = append(all, fault{origin: at, reason: "`aldaba dev` speaks plain HTTP, since nobody listens in on loopback: unset it, or use `aldaba serve`"})
		}
	}
	if len(all) > 0 {
		return nil, all.orNil()
	}
	s.Auth.Issuers = []auth.Issuer{devIssuer(newDevSecret())}
	s.Channels = demoPatterns()
	if c.Listen != "" {
		s.Listen = c.Listen
		s.origins.of["listen"] = origin{variable: "--listen"}
	}
	if c.Redis != "" {
		s.Redis.URL = c.Redis
	}
	return s, nil
}

// plan checks s and opens what it says is to be listened on.
func (c *devCmd) plan(ctx context.Context, s *settings, log *slog.Logger) (p plan, err error) {
	checked, all := check(s)
	for key, address := range map[string]string{"listen": s.Listen, "admin_listen": s.AdminListen} {
		if host, _, err := net.SplitHostPort(address); err == nil && !server.IsLoopback(host) {
			all = append(all, s.origins.fault(key, loopbackHint))
		}
	}
	if err := all.orNil(); err != nil {
		checked.close()
		return p, err
	}
	p = plan{config: &s.Config, judge: checked.judge, log: log}
	defer func() {
		if err != nil {
			p.abandon()
		}
	}()
	if p.public, err = listenUnlessSaid(ctx, s, "listen", s.Listen); err != nil {
		return p, err
	}
	if s.AdminListen != "" {
		if p.admin, err = listenUnlessSaid(ctx, s, "admin_listen", s.AdminListen); err != nil {
			return p, err
		}
	}
	if s.Redis.URL == "" {
		if p.embedded, err = c.startEmbedded(); err != nil {
			return p, err
		}
	}
	p.demo = newDemo(s.Auth.Issuers[0], checked.policy, server.DemoInfo{
		RedisPort: portOf(redisURL(&p)),
		Version:   thisBuild().Version,
	})
	return p, nil
}

// listenUnlessSaid opens address, or if nobody asked for it the next free port.
func listenUnlessSaid(ctx context.Context, s *settings, key, address string) (net.Listener, error) {
	hint := "ALDABA_" + strings.ToUpper(key)
	if key == "listen" {
		hint = "--listen"
	}
	if _, said := s.origins.of[key]; said {
		return listen(ctx, address, hint)
	}
	return listenNear(ctx, address, hint)
}

func (c *devCmd) startEmbedded() (*broker.Embedded, error) {
	if c.RedisListen == "" {
		return broker.StartEmbedded(embeddedAddress)
	}
	e, err := broker.StartEmbedded(c.RedisListen)
	if err != nil {
		return nil, misuse("--redis-listen: %v", err)
	}
	if _, port, _ := net.SplitHostPort(c.RedisListen); port != "0" && port != strconv.Itoa(portOf(e.URL())) {
		return nil, errors.Join(fmt.Errorf("%s is taken by another program: end it, choose another address with --redis-listen, or if it is a redis, use it with --redis", c.RedisListen), e.Close())
	}
	return e, nil
}
