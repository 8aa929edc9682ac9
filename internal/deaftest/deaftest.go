// Package deaftest has an HTTP/2 client that stops reading its connection, as a stopped
// process does. Only tests import it.
package deaftest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
)

// buffer is the kernel's for one direction of a connection, in bytes: far less than a
// window of HTTP/2's, so that it is the connection that is full.
const buffer = 32 << 10

// Client is an http.RoundTripper over one connection.
type Client struct {
	*http.Transport

	t    testing.TB
	deaf chan struct{}
}

// New returns a client that trusts what config does. Its connection ends with the test.
func New(t testing.TB, config *tls.Config) *Client {
	t.Helper()
	c := &Client{t: t, deaf: make(chan struct{})}
	c.Transport = &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DialContext: c.dial}
	return c
}

// Deafen makes the client read nothing more, but for what it waits for at this moment.
func (c *Client) Deafen() { close(c.deaf) }

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	socket, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	one := &conn{Conn: socket, deaf: c.deaf, closed: make(chan struct{})}
	c.t.Cleanup(func() { _ = one.Close() })
	return one, socket.(*net.TCPConn).SetReadBuffer(buffer) //nolint:forcetypeassert // of network "tcp"
}

type conn struct {
	net.Conn

	deaf, closed chan struct{}
	once         sync.Once
}

func (c *conn) Read(p []byte) (int, error) {
	select {
	case <-c.deaf:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Read(p)
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Narrow is the http.Server.ConnContext of a server over TLS whose connections are soon
// full.
func Narrow(ctx context.Context, c net.Conn) context.Context {
	_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetWriteBuffer(buffer) //nolint:forcetypeassert // of net/http's, and TCP
	return ctx
}
