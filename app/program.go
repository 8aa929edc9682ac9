package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"aldaba/app/server"
	"aldaba/hub"
	"aldaba/hub/broker"
)

// plan is what a program is made of.
type plan struct {
	config   *Config
	judge    *judge
	log      *slog.Logger
	public   net.Listener
	admin    net.Listener // nil: none
	embedded *broker.Embedded
	demo     *server.Demo // nil: none
}

// program is one replica: the place where the rooms are wired.
type program struct {
	plan

	broker *broker.Broker
	hub    *hub.Hub
	server *server.Server
}

// newProgram wires p and takes over its listeners and its embedded Redis, also
// when it fails. If the plan has an embedded Redis, messages go through that.
func newProgram(p plan) (*program, error) {
	one := &program{plan: p}
	if err := one.wire(); err != nil {
		return nil, errors.Join(err, one.close())
	}
	return one, nil
}

func (p *program) wire() error {
	metrics, err := newRegistry()
	if err != nil {
		return err
	}
	url := p.config.Redis.URL
	if p.embedded != nil {
		url = p.embedded.URL()
	}
	if p.broker, err = broker.Open(broker.Options{
		URL:        url,
		Prefix:     p.config.Redis.Prefix,
		Message:    int64(p.config.Limits.Message),
		Histories:  p.judge.policy.Histories(),
		NoRecorder: !p.config.Redis.Recorder,
		Logger:     p.log,
		Metrics:    metrics,
	}); err != nil {
		return err
	}
	if p.hub, err = hub.New(hub.Options{
		Verifier:       p.judge.verifier,
		Policy:         p.judge.policy,
		Broker:         p.broker,
		Limits:         p.config.Limits.hub(),
		AllowedOrigins: p.config.AllowedOrigins,
		Cookie:         p.config.Auth.Cookie,
		Tickets:        p.broker,
		Logger:         p.log,
		Metrics:        metrics,
	}); err != nil {
		return err
	}
	p.server, err = server.New(server.Options{
		Hub:            p.hub,
		Ready:          p.broker.Ready,
		TrustedProxies: p.config.TrustedProxies,
		TLS:            server.KeyPair(p.config.TLS),
		Metrics:        metrics,
		Logger:         p.log,
		API: &server.API{
			Broker:     p.broker,
			Verifier:   p.judge.verifier,
			Policy:     p.judge.policy,
			Tickets:    p.hub,
			Publishers: p.judge.publishers,
			Message:    int64(p.config.Limits.Message),
			PerSecond:  p.config.Limits.FramesPerSecond,
		},
		Demo: p.demo,
	})
	return err
}

// Run serves until ctx ends, then takes its leave and returns nil. It returns an
// error if it could not go on serving. It can be called once.
func (p *program) Run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 3)
	start := func(f func() error) {
		running.Go(func() {
			if err := f(); err != nil {
				failed <- err
			}
		})
	}
	receiving, stopReceiving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReceiving()
	start(func() error { return p.broker.Run(receiving, p.hub) })
	start(func() error { return p.server.Serve(p.public) })
	start(func() error { tendMemory(receiving, p.hub.Sessions); return nil })
	if p.admin != nil {
		start(func() error { return p.server.ServeAdmin(p.admin) })
	}
	var err error
	select {
	case <-ctx.Done():
		p.leave(context.WithoutCancel(ctx))
	case err = <-failed:
	}
	err = errors.Join(err, p.shut(context.WithoutCancel(ctx)))
	stopReceiving()
	running.Wait()
	return errors.Join(err, p.close())
}

// close ends whatever there is, the hub before what it stands on. It is safe to
// call twice.
func (p *program) close() error {
	var errs []error
	if p.hub != nil {
		errs = append(errs, p.hub.Close())
	}
	if p.broker != nil {
		errs = append(errs, p.broker.Close())
	}
	if p.embedded != nil {
		errs = append(errs, p.embedded.Close())
	}
	p.judge.close()
	for _, l := range []net.Listener{p.public, p.admin} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
