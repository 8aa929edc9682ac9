package crowd

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

// split takes a WebSocket URL apart into what Host says and the path.
func split(address string) (host, path string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", err
	}
	return u.Host, u.EscapedPath(), nil
}

// socketAddress is HOST:PORT as the kernel takes it. HOST is an IPv4 address.
func socketAddress(address string) (unix.SockaddrInet4, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().Is4() {
		return unix.SockaddrInet4{}, fmt.Errorf("%s is not an IPv4 address and a port", address)
	}
	return unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
}

// connect opens what is not open of o's pages.
func (c *crowd) connect(o Connect) (Connected, error) {
	if len(c.pages) != o.Users {
		if c.open > 0 {
			return Connected{}, fmt.Errorf("%d pages are open already", c.open)
		}
		c.pages = make([]page, o.Users)
	}
	c.order = o
	c.recorded = recordedBy(o.Log)
	var err error
	if c.remote, err = socketAddress(o.Address); err != nil {
		return Connected{}, err
	}
	requests, err := c.requests()
	if err != nil {
		return Connected{}, err
	}
	began := time.Now()
	c.progress = began
	for next := 0; c.open < o.Users; {
		if next, err = c.dialMore(requests, next); err != nil {
			return Connected{}, err
		}
		if err := c.step(20 * time.Millisecond); err != nil {
			return Connected{}, err
		}
		stuck := next == len(requests) && c.pending == 0 && c.open < o.Users
		if stuck || time.Since(c.progress) > patience || c.failed() > o.Users/10 {
			return Connected{}, fmt.Errorf("%d of %d pages are connected after %s; %s",
				c.open, o.Users, time.Since(began).Round(time.Millisecond), Faults(c.faults))
		}
	}
	return Connected{Pages: c.open, Took: time.Since(began), Faults: c.faults}, nil
}

// dialMore begins handshakes from next on, as many as may be under way, and returns
// the first that it did not.
func (c *crowd) dialMore(requests [][]byte, next int) (int, error) {
	for ; c.pending < c.order.AtOnce && next < len(requests); next++ {
		if requests[next] == nil {
			continue // it is open
		}
		if err := c.dial(next, requests[next]); err != nil {
			return next, err
		}
		requests[next] = nil
	}
	return next, nil
}

// requests signs the tokens before the time is taken.
func (c *crowd) requests() ([][]byte, error) {
	all := make([][]byte, len(c.pages))
	for i := range c.pages {
		if c.pages[i].state != pageClosed {
			continue
		}
		var err error
		if all[i], err = c.request(i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *crowd) failed() int {
	n := 0
	for _, count := range c.faults {
		n += count
	}
	return n
}
