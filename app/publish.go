package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/hub/broker"
)

const (
	defaultRedis = "redis://127.0.0.1:6379"
	publishWait  = 5 * time.Second
)

type publishCmd struct {
	Channel string `arg:"" help:"Channel to publish to."`
	JSON    string `arg:"" name:"json" help:"The message, one JSON document; - reads it from standard input."`
	Redis   string `placeholder:"URL" help:"Redis to publish through."`
	Config  string `placeholder:"FILE" help:"Configuration with redis.url and redis.prefix."`
	Key     string `help:"Idempotency key: of messages with one key within a day the first counts."`
	Report  bool   `name:"json" help:"Print an object with channel, bytes, and where there is a history position and duplicate."`
}

// Help is shown by --help.
func (publishCmd) Help() string {
	return `The same as PUBLISH by any Redis client, but checked before: a hub drops what is not JSON or too large. To a channel
with history it is recorded at once. Without
--redis it goes through the configuration's Redis, the running "aldaba dev", or redis://127.0.0.1:6379.

    aldaba publish user:anna '{"title":"hello"}'

    make-report | aldaba publish org:acme:news -`
}

func (c *publishCmd) Run(ctx context.Context, sh *shell) error {
	if !auth.ValidChannel(c.Channel) {
		return misuse("%q is not a channel's name: 1 to 255 of A-Z a-z 0-9 _ . : @ # / | + = ~ - %%, not beginning with aldaba:", c.Channel)
	}
	s, err := loadOrDev(c.Config, sh.environ, hasRedis)
	if err != nil {
		return err
	}
	data, err := c.message(sh, int64(s.Limits.Message))
	if err != nil {
		return err
	}
	b, err := openBroker(s, c.Redis, plainLogger(sh.err))
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	done, err := b.Publish(ctx, c.Channel, data, hub.PublishOptions{Key: c.Key})
	if err != nil {
		return fmt.Errorf("%w%s", err, redisHint(s, c.Redis))
	}
	if c.Report {
		return json.NewEncoder(sh.out).Encode(publishReport{c.Channel, len(data), done.Position.String(), done.Duplicate})
	}
	return nil
}

// publishReport is what --json prints.
type publishReport struct {
	Channel   string `json:"channel"`
	Bytes     int    `json:"bytes"`
	Position  string `json:"position,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
}

// message returns the document to publish, at most limit bytes of it.
func (c *publishCmd) message(sh *shell, limit int64) ([]byte, error) {
	data := []byte(c.JSON)
	if c.JSON == "-" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(sh.in, limit+1)); err != nil {
			return nil, fmt.Errorf("cannot read the message: %w", err)
		}
	}
	data = bytes.TrimSpace(data)
	switch {
	case int64(len(data)) > limit:
		return nil, misuse("the message is larger than limits.message (%v): every hub would drop it", Size(limit))
	case !json.Valid(data):
		return nil, misuse(`the message is not JSON, every hub would drop it; text takes double quotes inside the shell's: '"hello"'`)
	}
	return data, nil
}

// openBroker connects to the Redis at url, or else to that of s.
func openBroker(s *settings, url string, log *slog.Logger) (*broker.Broker, error) {
	policy, err := auth.NewPolicy(s.Channels)
	if err != nil {
		return nil, fmt.Errorf("channels of the configuration: %w", err)
	}
	if url == "" {
		url = s.Redis.URL
	} else if reason := badRedisURL(url); reason != "" {
		return nil, misuse("--redis %s", reason)
	}
	if url == "" {
		url = defaultRedis
	}
	return broker.Open(broker.Options{
		URL:       url,
		Prefix:    s.Redis.Prefix,
		Message:   int64(s.Limits.Message),
		Histories: policy.Histories(),
		Logger:    log,
	})
}

// redisHint says what to do when nobody said which Redis.
func redisHint(s *settings, url string) string {
	if url != "" || s.Redis.URL != "" {
		return ""
	}
	return "; start `aldaba dev`, or say which Redis with --redis"
}
