package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// Embedded is an in-process Redis, for one replica alone. It keeps nothing, and
// listens on loopback only, since it asks for no password.
type Embedded struct {
	server    *miniredis.Miniredis
	functions *functions
	address   string

	once sync.Once
	done chan struct{}
	tick sync.WaitGroup
}

// maxPorts is how many ports StartEmbedded tries after the first.
const maxPorts = 100

// StartEmbedded listens on address, a loopback host and port, or on the next free
// port after it. Port 0 takes any.
func StartEmbedded(address string) (*Embedded, error) {
	host, port, err := loopback(address)
	if err != nil {
		return nil, err
	}
	for n := range maxPorts + 1 {
		if port+n > 65535 {
			break
		}
		m := miniredis.NewMiniRedis()
		err = m.StartAddr(net.JoinHostPort(host, strconv.Itoa(port+n)))
		if err == nil {
			return embed(m)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("embedded redis: %w", err)
}

func embed(m *miniredis.Miniredis) (*Embedded, error) {
	m.Server().SetPreHook(introduce)
	e := &Embedded{server: m, functions: newFunctions(m.Addr()), address: m.Addr(), done: make(chan struct{})}
	e.tick.Go(e.age)
	if err := e.functions.register(m.Server()); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded redis: %w", err), e.Close())
	}
	return e, nil
}

// age lets keys expire. miniredis' own clock would walk all keys at every command.
func (e *Embedded) age() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-tick.C:
			e.server.FastForward(time.Second)
		}
	}
}

// introduce answers what clients say and ask when they connect, which miniredis
// does not know, or not well enough.
func introduce(p *server.Peer, cmd string, args ...string) bool {
	if len(args) == 0 {
		return false
	}
	switch strings.ToUpper(cmd + " " + args[0]) {
	case "CLIENT SETINFO", "CLIENT NO-EVICT", "CLIENT NO-TOUCH":
		p.WriteOK()
	case "CLIENT ID":
		p.WriteInt(1)
	case "COMMAND DOCS": // answered as COMMAND, at which redis-cli aborts
		p.WriteError("ERR unknown subcommand 'DOCS'. Try COMMAND HELP.")
	default:
		return false
	}
	return true
}

// URL returns what Options.URL wants.
func (e *Embedded) URL() string { return "redis://" + e.address }

// Close ends it. It is safe to call twice.
func (e *Embedded) Close() error {
	e.once.Do(func() {
		close(e.done)
		e.tick.Wait()
		_ = e.functions.client.Close() // the server goes with it
		e.server.Close()
	})
	return nil
}

// loopback takes address apart and refuses every host but this one.
func loopback(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("embedded redis: address %q: want host:port", address)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("embedded redis listens on 127.0.0.1 or [::1] only, not on %q: it asks for no password", host)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("embedded redis: port %q is not a number up to 65535", text)
	}
	return host, port, nil
}
