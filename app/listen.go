package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// listening leaves the kernel's keep-alive probes out: the hub pings its sessions, and
// ten thousand sockets that were opened together are probed together, which stalls
// all others for tens of milliseconds.
var listening = net.ListenConfig{KeepAlive: -1}

// listen opens address.
func listen(ctx context.Context, address, hint string) (net.Listener, error) {
	l, err := listening.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is taken by another program: end it, or choose another address with %s", address, hint)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s may not be opened by this user: choose a port above 1023 with %s", address, hint)
	case err != nil:
		return nil, fmt.Errorf("%w: choose another address with %s", err, hint)
	}
	return l, nil
}

// listenNear opens address, or the next free port after it.
func listenNear(ctx context.Context, address, hint string) (net.Listener, error) {
	const tries = 100
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	for port := first; port < min(first+tries, 65536); port++ {
		l, err := listening.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
	}
	return listen(ctx, address, hint)
}

// isRedis reports whether what listens on address speaks as Redis does.
func isRedis(ctx context.Context, address string) bool {
	const patience = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(patience)) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer, err := bufio.NewReaderSize(conn, 64).ReadSlice('\n')
	return err == nil && (string(answer) == "+PONG\r\n" || answer[0] == '-') // -NOAUTH, -LOADING
}
