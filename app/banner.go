package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
)

func pageURL(l net.Listener) string { return "http://" + l.Addr().String() }

func redisURL(p *plan) string {
	if p.embedded != nil {
		return p.embedded.URL()
	}
	return p.config.Redis.URL
}

// portOf is the port of a Redis URL.
func portOf(text string) int {
	u, err := url.Parse(text)
	if err != nil {
		return 0
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	return 6379
}

// isForeignRedis reports whether another Redis has the usual port.
func isForeignRedis(ctx context.Context, ours string) bool {
	return portOf(ours) != portOf(defaultRedis) && isRedis(ctx, embeddedAddress)
}

// printBanner says what there is, and what to try first.
func printBanner(w io.Writer, s devState, p *plan, foreign bool) {
	fmt.Fprintf(w, "\n  aldaba %s, for development on this machine\n\n", thisBuild().Version)
	fmt.Fprintf(w, "  page     %s\n", s.URL)
	redis := "your own"
	if p.embedded != nil {
		redis = s.Redis + " (embedded)"
	} else if u, err := url.Parse(s.Redis); err == nil {
		redis = u.Redacted()
	}
	fmt.Fprintf(w, "  redis    %s\n", redis)
	if p.admin != nil {
		fmt.Fprintf(w, "  metrics  %s/metrics\n", pageURL(p.admin))
	}
	fmt.Fprintf(w, "\n  Knock:\n\n    redis-cli -p %d publish user:anna '{\"title\":\"hello\"}'\n\n", portOf(s.Redis))
	if foreign {
		fmt.Fprintf(w, "  a redis already listens on %s; use it with --redis %s\n\n", embeddedAddress, defaultRedis)
	}
}
