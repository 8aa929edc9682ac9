package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// hub takes the URL of a hub that runs already apart; what it leaves out is added.
func (o *Options) hub() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("--url %s: write ws://HOST:PORT/ws", o.URL)
	}
	address, notAddress := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme == "wss":
		return nil, fmt.Errorf("--url %s: the load generators speak no TLS: name an address where the hub, or what ends TLS for it, listens with ws://", o.URL)
	case u.Scheme != "ws" || u.Hostname() == "":
		return nil, fmt.Errorf("--url %s: write ws://HOST:PORT/ws", o.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("--url names a host and a path only: the tokens are made here")
	case notAddress == nil && !address.Is4():
		return nil, fmt.Errorf("--url %s: the load generators speak IPv4 only: name an IPv4 address, or a host that has one", o.URL)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("--url %s: a port is from 1 to 65535", o.URL)
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	if u.Path == "" || u.Path == "/" {
		u.Path = "/ws"
	}
	return u, nil
}

// locate returns u's address, HOST:PORT with the first IPv4 address of its host.
func locate(ctx context.Context, u *url.URL) (string, error) {
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", u.Hostname())
	if err != nil {
		return "", fmt.Errorf("--url: %w", err)
	}
	return net.JoinHostPort(all[0].Unmap().String(), u.Port()), nil
}
