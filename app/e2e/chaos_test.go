package e2e

import (
	"syscall"
	"testing"
	"time"
)

// TestChaos proves what channels with history promise while everything that can
// happen happens: processes crash and freeze, Redis goes away with and without its
// data, connections break, pages are slow, come and go. Each page must have heard
// exactly what it was owed, once and in order, or was told that it was not.
//
// A plain PUBLISH is held to that, too, as long as a recorder or an exact standby
// hears it; see chaos.unsurely for when none does.
func TestChaos(t *testing.T) {
	durable := []string{"--appendonly", "yes", "--appendfsync", "always"}
	for _, s := range []struct {
		name     string
		happens  func(*chaos)
		replicas int
		want     expectation
		redis    []string
	}{
		{"calm", func(c *chaos) { c.load(10_000) }, 3, expectation{whole: true}, nil},
		{"recorder killed", recorderKilled, 3, expectation{whole: true}, nil},
		{"recorder killed of two", recorderKilled, 2, expectation{whole: true}, nil},
		{"bystander killed", bystanderKilled, 3, expectation{whole: true}, nil},
		{"recorder and publisher killed", recorderAndPublisherKilled, 3, expectation{whole: true}, nil},
		{"recorder deafened", recorderDeafened, 3, expectation{whole: true}, nil},
		{"recorder frozen", recorderFrozen, 3, expectation{whole: true}, nil},
		{"redis restarted with its data", redisRestarted, 3, expectation{kept: true}, durable},
		{"redis restarted without its data", redisRestarted, 3, expectation{}, nil},
		{"redis frozen", redisFrozen, 3, expectation{whole: true}, nil},
		{"subscriptions cut", subscriptionsCut, 3, expectation{whole: true}, nil},
		{"commands cut", commandsCut, 3, expectation{whole: true}, nil},
		{"everything deleted", everythingDeleted, 3, expectation{}, nil},
		{"slow readers", slowReaders, 3, expectation{whole: true}, nil},
		{"pages that hop", pagesThatHop, 2, expectation{whole: true}, nil},
		{"resumes interrupted", resumesInterrupted, 3, expectation{whole: true}, nil},
		{"recorder drained", recorderDrained, 3, expectation{whole: true}, nil},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := newChaos(t, s.replicas, s.redis...)
			s.happens(c)
			c.settle(s.want)
		})
	}
}

// recorderKilled: what its standby has heard is recorded nevertheless.
func recorderKilled(c *chaos) {
	c.kill(c.awaitRoles())
	c.load(3000)
	c.serve()
	c.awaitRoles()
	c.load(3000)
}

// bystanderKilled: its pages go on elsewhere, and nobody's role changes.
func bystanderKilled(c *chaos) {
	recorder := c.awaitRoles()
	standby := c.having(isStandby)
	for _, r := range c.live() {
		if r != recorder && r != standby {
			c.kill(r)
		}
	}
	c.load(3000)
	if now := c.awaitRoles(); now != recorder {
		c.t.Error("another replica records")
	}
}

// recorderAndPublisherKilled: what the publisher was told before its end is there. Both
// die in one instant, with what is on its way between them: neither's end is awaited
// before the other is killed.
func recorderAndPublisherKilled(c *chaos) {
	for range 2 {
		recorder := c.awaitRoles()
		c.strikeCaller()
		c.strike(recorder)
		<-recorder.exited
		c.replaceCaller()
		c.serve()
	}
	c.awaitRoles()
	c.load(3000)
}

// recorderDeafened loses the connection on which it hears plain PUBLISHes and no other.
// Its standby has heard what it did not, so nothing is excused. A recorder that comes
// back before its lease has run out must not go on as if it had heard everything.
func recorderDeafened(c *chaos) {
	for range 3 {
		recorder := c.awaitRoles()
		c.deafen(recorder)
		eventually(c.t, "the standby goes on", func() bool {
			now := c.having(isRecorder)
			return now != nil && now != recorder
		})
		c.load(1000)
	}
	c.awaitRoles()
	c.load(3000)
	for _, r := range c.live() {
		if gaps := r.metric("aldaba_recorder_gaps_total"); gaps > 0 {
			c.t.Errorf("%v gaps are admitted, and somebody heard all the time", gaps)
		}
	}
}

// redisFrozen: for longer than a lease lasts, and for less than links bear.
func redisFrozen(c *chaos) {
	for range 2 {
		c.awaitRoles()
		c.server.Signal(syscall.SIGSTOP)
		time.Sleep(4 * time.Second)
		c.server.Signal(syscall.SIGCONT)
		c.load(2000)
	}
}

// recorderFrozen: when it thaws, it must not record what its standby has recorded.
func recorderFrozen(c *chaos) {
	recorder := c.awaitRoles()
	signal := func(s syscall.Signal) {
		if err := recorder.cmd.Process.Signal(s); err != nil {
			c.t.Fatal(err)
		}
	}
	frozen := 10 * time.Second
	if testing.Short() {
		frozen = 5 * time.Second
	}
	signal(syscall.SIGSTOP)
	time.Sleep(frozen) // how long it is frozen
	signal(syscall.SIGCONT)
	if now := c.awaitRoles(); now == recorder {
		c.t.Error("nobody took over")
	}
	c.load(3000)
}

// redisRestarted: pages are told that what they know may be gone.
func redisRestarted(c *chaos) {
	c.unsurely(func() {
		c.server.Kill()
		time.Sleep(time.Second) // how long it is away
		c.server.Start()
	})
	c.awaitRoles()
	c.load(6000)
}

// subscriptionsCut: everybody who hears anything from Redis has to come back, and what
// the script recorded meanwhile is caught up.
func subscriptionsCut(c *chaos) {
	for range 2 {
		c.unsurely(func() { c.server.Do("CLIENT", "KILL", "TYPE", "pubsub") })
		c.awaitRoles()
	}
	c.load(3000)
}

// commandsCut: what was being recorded may have been or not, and is recorded once;
// whoever listens goes on listening.
func commandsCut(c *chaos) {
	for range 20 {
		c.server.Do("CLIENT", "KILL", "TYPE", "normal")
		c.load(300)
	}
	c.load(3000)
}

// everythingDeleted: logs, leases and all.
func everythingDeleted(c *chaos) {
	for range 2 {
		c.unsurely(func() { c.server.Do("FLUSHALL") })
		c.awaitRoles()
		c.load(1000)
	}
	c.load(3000)
}

// slowReaders are cut, and hear all that they missed when they read again.
func slowReaders(c *chaos) {
	slow := c.pages[1:5]
	for _, l := range slow {
		l.setHabit(stalls)
	}
	c.padding.Store(3 << 10)
	eventually(c.t, "slow pages are cut", func() bool {
		cuts := 0.0
		for _, r := range c.live() {
			cuts += r.metric(`aldaba_cuts_total{code="4002"}`)
		}
		return cuts >= float64(len(slow))
	})
	c.padding.Store(0)
	for _, l := range slow {
		l.setHabit(stays)
	}
	c.load(3000)
}

// pagesThatHop are never long on one replica.
func pagesThatHop(c *chaos) {
	c.everybody(hops)
	c.load(15_000)
}

// resumesInterrupted: a page that has heard a part of what it missed misses the rest
// only until it comes again.
func resumesInterrupted(c *chaos) {
	c.everybody(interrupts)
	eventually(c.t, "resumes are interrupted", func() bool { return c.tally.interrupts.Load() > 60 })
	c.load(3000)
}

func (c *chaos) everybody(h habit) {
	for _, l := range c.pages {
		l.setHabit(h)
	}
}

// recorderDrained: it hands over, while its sessions leave.
func recorderDrained(c *chaos) {
	for range 2 {
		recorder := c.awaitRoles()
		c.forget(recorder)
		recorder.terminate()
		<-recorder.exited
		c.serve()
	}
	c.awaitRoles()
	c.load(3000)
}
