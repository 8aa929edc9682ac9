package main

import (
	"context"
	"time"
)

const (
	// drainGrace is what sessions that were told to leave have left to do so.
	drainGrace = 5 * time.Second
	// handOverWait is for another replica to record plain publishes: three seconds until
	// a dead recorder is known to be dead, and four for somebody to stand by.
	handOverWait = 8 * time.Second
	// shutWait is for requests that are being answered.
	shutWait = 5 * time.Second
)

// leave empties the replica so that its sessions hardly notice: the load
// balancer learns of it first, then no session comes any more, then those that
// are here go, a few at a time. What it did for all it does to the end.
func (p *program) leave(ctx context.Context) {
	p.log.Info("draining", "sessions", p.hub.Sessions(), "delay", p.config.Drain.Delay, "spread", p.config.Drain.Spread)
	p.server.Drain()
	<-time.After(p.config.Drain.Delay)
	p.hub.Refuse()
	p.drain(ctx)
	p.handOver(ctx)
	p.log.Info("drained")
}

// drain has the sessions go.
func (p *program) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Drain.Spread+drainGrace)
	defer cancel()
	if err := p.hub.Drain(ctx, p.config.Drain.Spread); err != nil {
		p.log.Warn("sessions did not leave in time and were cut", "error", err)
	}
}

// handOver has another replica record plain publishes from now on. Until then this one
// does: it may be the only one.
func (p *program) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverWait)
	defer cancel()
	p.broker.HandOver(ctx)
}

// shut ends the HTTP servers. A client that keeps its request for longer than shutWait is
// cut, and no failure of the program's.
func (p *program) shut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutWait)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	p.log.Warn("requests did not end in time and were cut", "error", err)
	return nil
}
