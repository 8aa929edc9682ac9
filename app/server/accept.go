package server

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// acceptQuiet is how long the log says nothing more about failures to accept.
const acceptQuiet = 5 * time.Second

// acceptor is a listener whose failures the operator sees: without descriptors
// left nobody new gets in, and no request tells of that. net/http tries again by
// itself, from every 5 ms to every second, which is too often for a log.
// Only one goroutine may call Accept.
type acceptor struct {
	net.Listener

	log        *slog.Logger
	told       time.Time
	suppressed int // failures since told
}

func (a *acceptor) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		a.tell(err)
	}
	return conn, err
}

func (a *acceptor) tell(err error) {
	if !a.told.IsZero() && time.Since(a.told) < acceptQuiet {
		a.suppressed++
		return
	}
	a.log.Warn("cannot accept connections", "error", err, "suppressed", a.suppressed)
	a.told, a.suppressed = time.Now(), 0
}
