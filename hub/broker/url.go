package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const schemes = "redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://"

// connect returns a client for what rawURL names, and its name for people. No
// error repeats rawURL: there is a password in it.
func connect(rawURL string, t timing) (redis.UniversalClient, string, error) {
	if rawURL == "" {
		return nil, "", errors.New("redis url is empty: want " + schemes)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, "", errors.New("redis url cannot be parsed: percent-encode special characters of the password")
	}
	kind, err := kindOf(u)
	if err != nil {
		return nil, "", err
	}
	u.Scheme, _, _ = strings.Cut(u.Scheme, "+")
	client, server, err := kind(u.String(), t)
	if err != nil {
		return nil, "", fmt.Errorf("redis url: %s", redact(err.Error(), u))
	}
	return client, server, nil
}

type kind func(rawURL string, t timing) (redis.UniversalClient, string, error)

func kindOf(u *url.URL) (kind, error) {
	switch u.Scheme {
	case "redis", "rediss":
		return single, hostNeeded(u)
	case "unix":
		return single, nil
	case "redis+sentinel", "rediss+sentinel":
		return sentinel, hostNeeded(u)
	case "redis+cluster", "rediss+cluster":
		return cluster, hostNeeded(u)
	case "":
		return nil, errors.New("redis url has no scheme: want " + schemes)
	}
	return nil, fmt.Errorf("redis url has an unknown scheme %q: want %s", u.Scheme, schemes)
}

func hostNeeded(u *url.URL) error {
	if u.Host == "" {
		return errors.New("redis url has no host: want " + u.Scheme + "://host:port")
	}
	return nil
}

func single(rawURL string, t timing) (redis.UniversalClient, string, error) {
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, "", err
	}
	o.Protocol, o.DisableIdentity, o.ContextTimeoutEnabled = 2, true, true
	o.MaxRetries, o.DialerRetries = -1, 1
	o.MinIdleConns, o.PipelinePoolSize = 0, -1
	o.DialTimeout = within(o.DialTimeout, t.dial)
	o.ReadTimeout, o.WriteTimeout = within(o.ReadTimeout, t.command), within(o.WriteTimeout, t.command)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	return redis.NewClient(o), "redis at " + o.Addr, nil
}

func sentinel(rawURL string, t timing) (redis.UniversalClient, string, error) {
	o, err := redis.ParseFailoverURL(rawURL)
	if err != nil {
		return nil, "", err
	}
	if o.MasterName == "" {
		return nil, "", errors.New("sentinels need ?master_name=")
	}
	o.Protocol, o.DisableIdentity, o.ContextTimeoutEnabled = 2, true, true
	o.MaxRetries, o.DialerRetries = -1, 1
	o.MinIdleConns, o.PipelinePoolSize = 0, -1
	o.RouteByLatency, o.RouteRandomly, o.ReplicaOnly = false, false, false // they panic, or read only
	o.DialTimeout = within(o.DialTimeout, t.dial)
	o.ReadTimeout, o.WriteTimeout = within(o.ReadTimeout, t.command), within(o.WriteTimeout, t.command)
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	server := fmt.Sprintf("redis %s behind sentinel %s", o.MasterName, strings.Join(o.SentinelAddrs, ", "))
	return redis.NewFailoverClient(o), server, nil
}

func cluster(rawURL string, t timing) (redis.UniversalClient, string, error) {
	o, err := redis.ParseClusterURL(rawURL)
	if err != nil {
		return nil, "", err
	}
	o.Protocol, o.DisableIdentity, o.ContextTimeoutEnabled = 2, true, true
	// A redirect is also a retry, and a retried PUBLISH may be heard twice. Any
	// node takes any PUBLISH, so there is nothing to redirect.
	o.MaxRetries, o.MaxRedirects, o.DialerRetries = -1, -1, 1
	o.MinIdleConns, o.PipelinePoolSize = 0, -1
	o.RouteByLatency, o.RouteRandomly, o.ReadOnly = false, false, false
	o.DialTimeout = within(o.DialTimeout, t.dial)
	o.ReadTimeout, o.WriteTimeout = within(o.ReadTimeout, t.command), within(o.WriteTimeout, t.command)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	return redis.NewClusterClient(o), "redis cluster at " + strings.Join(o.Addrs, ", "), nil
}

// within returns d if it is a time-out no longer than limit, else limit.
func within(d, limit time.Duration) time.Duration {
	if d <= 0 || d > limit {
		return limit
	}
	return d
}

// noDial is over before it begins. Whatever go-redis does under it may use a
// connection that stands but cannot open one: PubSub would reconnect inside
// Receive, Subscribe and Ping, subscribe again, and never say what was lost.
var noDial = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// dialer opens connections, and none under a context that has ended. Unlike
// go-redis' own it heeds ctx during the TLS handshake, and checks the name of the
// very server it dials.
func dialer(timeout time.Duration, config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if config == nil {
			return d.DialContext(ctx, network, addr)
		}
		c := config.Clone()
		if host, _, err := net.SplitHostPort(addr); err == nil {
			c.ServerName = host
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, network, addr)
	}
}

// redact takes u's secrets out of text.
func redact(text string, u *url.URL) string {
	secrets := u.Query()["password"]
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, s := range secrets {
		if s == "" {
			continue
		}
		text = strings.ReplaceAll(text, s, "…")
		text = strings.ReplaceAll(text, url.QueryEscape(s), "…")
	}
	return text
}
