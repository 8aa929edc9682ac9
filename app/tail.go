package main

import (
	"context"
	"errors"
	"strings"

	"aldaba/hub/broker"
)

type tailCmd struct {
	Patterns []string `arg:"" optional:"" name:"pattern" help:"Channels to watch, with Redis' wildcards; none: every channel."`
	Redis    string   `placeholder:"URL" help:"Redis to watch."`
	Config   string   `placeholder:"FILE" help:"Configuration with redis.url and redis.prefix."`
	AsToken  string   `placeholder:"JWT" help:"Show what this token's user sees; - reads it from standard input."`
	URL      string   `name:"url" placeholder:"WS" help:"The hub to connect to with the token (ws://127.0.0.1:8080/ws)."`
	JSON     bool     `name:"json" help:"Print one object per line: messages, or with a token the hub's frames."`
	Count    int      `placeholder:"N" help:"End after so many messages."`
}

// Help is shown by --help.
func (tailCmd) Help() string {
	return `Without a token: what passes through Redis, also what no hub would deliver. With one: what its user sees, connected
as a browser would be; channels that are given by name are asked for.

    aldaba tail 'room:*'

    aldaba tail --as-token "$(aldaba token --sub anna)"`
}

// errEnough ends a tail that has printed as many messages as were asked for.
var errEnough = errors.New("enough")

func (c *tailCmd) Run(ctx context.Context, sh *shell) error {
	switch {
	case c.Count < 0:
		return misuse("--count must be more than 0")
	case c.AsToken == "" && c.URL != "":
		return misuse("--url needs --as-token: without a token it is Redis that is watched")
	case c.AsToken != "" && c.Redis != "":
		return misuse("--redis and --as-token do not go together: with a token it is the hub that is watched, see --url")
	}
	p := &tailPrinter{out: sh.out, json: c.JSON, left: c.Count}
	err := c.watch(ctx, sh, p)
	if ended := errors.Is(err, errEnough) || ctx.Err() != nil; !ended {
		return err
	}
	return nil
}

func (c *tailCmd) watch(ctx context.Context, sh *shell, p *tailPrinter) error {
	s, err := loadOrDev(c.Config, sh.environ, hasRedis)
	if err != nil {
		return err
	}
	if c.AsToken != "" {
		token, err := readToken(sh, c.AsToken)
		if err != nil {
			return err
		}
		url := c.URL
		if url == "" {
			url = hubURL(s)
		}
		return watchSession(ctx, url, token, c.Patterns, p)
	}
	b, err := openBroker(s, c.Redis, plainLogger(sh.err))
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Tail(ctx, c.Patterns, func(m broker.Message) error {
		return p.message(m)
	})
}

// hubURL is where the hub of s listens, or the running development hub.
func hubURL(s *settings) string {
	if dev, ok := runningDev(); ok && s.dev {
		return dev.URL
	}
	return s.TLS.scheme() + "://" + dialable(s.Listen)
}

// isName reports whether a pattern is a channel's name, without wildcards.
func isName(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }
