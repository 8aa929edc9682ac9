package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"aldaba/hub/broker"
)

func (v *validator) addresses() {
	if reason := badAddress(v.Listen); reason != "" {
		v.fault("listen", "%s", reason)
	}
	if v.AdminListen == "" {
		return
	}
	if reason := badAddress(v.AdminListen); reason != "" {
		v.fault("admin_listen", "%s", reason)
	} else if v.AdminListen == v.Listen && !strings.HasSuffix(v.Listen, ":0") {
		v.fault("admin_listen", "must not be the public address: choose another port, or leave it empty")
	}
}

// badAddress says what is wrong with a listening address, if anything.
func badAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("%q is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("%q is not a port", port)
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Sprintf("%q is not a host", host)
	}
	return ""
}

func (v *validator) browsers() {
	for i, o := range v.AllowedOrigins {
		if reason := badOrigin(o); reason != "" {
			v.fault(fmt.Sprintf("allowed_origins[%d]", i), "%s", reason)
		}
	}
	if v.Auth.Cookie == "" {
		return
	}
	name := http.Cookie{Name: v.Auth.Cookie, Value: "x"} //nolint:gosec // never sent: only its name is judged
	if err := name.Valid(); err != nil {
		v.fault("auth.cookie", "%q cannot be a cookie's name", v.Auth.Cookie)
	}
	if len(v.AllowedOrigins) == 0 {
		v.fault("auth.cookie", "needs allowed_origins: a browser sends a cookie along from any page, so name those that may connect")
	}
}

// badOrigin says why a browser would never send o as its Origin, if it would not.
func badOrigin(o string) string {
	u, err := url.Parse(o)
	shape := "write scheme://host or scheme://host:port, such as https://app.example.com"
	switch {
	case o == "null":
		return "\"null\" is any sandboxed page: " + shape
	case strings.Contains(o, "*"):
		return fmt.Sprintf("%q: there are no wildcards here; name each origin", redactUserinfo(o))
	case err != nil || u.Scheme == "" || u.Hostname() == "" || u.Opaque != "" || u.User != nil:
		return fmt.Sprintf("%q is not an origin: %s", redactUserinfo(o), shape)
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(o, "#"):
		return fmt.Sprintf("%q is more than an origin: leave out what follows the host", o)
	case o != strings.ToLower(o) || strings.ContainsFunc(o, func(r rune) bool { return r > '~' }):
		return fmt.Sprintf("%q: browsers send it in lower case, and foreign letters as xn--…", o)
	case strings.HasSuffix(u.Host, ":"):
		return fmt.Sprintf("%q has no port after its colon", o)
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return fmt.Sprintf("%q: browsers leave the scheme's own port out", o)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Sprintf("%q is not a port", p)
		}
	}
	return ""
}

// redactUserinfo takes away what may be a password.
func redactUserinfo(s string) string {
	i := strings.LastIndex(s, "@")
	if i < 0 {
		return s
	}
	return "…" + s[i:]
}

func (v *validator) proxies() {
	for i, p := range v.TrustedProxies {
		path := fmt.Sprintf("trusted_proxies[%d]", i)
		if _, err := netip.ParseAddr(p); err == nil {
			continue
		}
		network, err := netip.ParsePrefix(p)
		switch {
		case err != nil:
			v.fault(path, "%q is not an address or a network: write 10.0.0.7 or 10.0.0.0/8", p)
		case network.Bits() == 0:
			v.fault(path, "%q would let every client choose its own address: name your proxies only", p)
		}
	}
}

var prefixShape = regexp.MustCompile(`^[A-Za-z0-9_.:@#/|+=~%-]{0,64}$`)

func (v *validator) redis() {
	if reason := badRedisURL(v.Redis.URL); v.Redis.URL != "" && reason != "" {
		v.fault("redis.url", "%s", reason)
	}
	if !prefixShape.MatchString(v.Redis.Prefix) {
		v.fault("redis.prefix", "%q is not a prefix: at most 64 of A-Z a-z 0-9 _ . : @ # / | + = ~ - %%", v.Redis.Prefix)
	}
}

// badRedisURL says what is wrong with text, if anything, and never repeats it:
// it may hold a password.
func badRedisURL(text string) string {
	u, err := url.Parse(text)
	if err == nil && (u.Fragment != "" || strings.Contains(u.Path+u.RawQuery, "@")) {
		// Of a password that has a `/`, `?` or `#`, the rest would be taken, and
		// told, for a database or an option.
		return "cannot be parsed: percent-encode special characters of the password"
	}
	b, err := broker.Open(broker.Options{URL: text, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return strings.TrimLeft(strings.TrimPrefix(err.Error(), "redis url"), ": ")
	}
	if err := b.Close(); err != nil {
		return err.Error()
	}
	return ""
}

func (v *validator) numbers() {
	l := v.Limits
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"message", int64(l.Message)},
		{"queue", int64(l.Queue)},
		{"channels_per_session", int64(l.ChannelsPerSession)},
		{"sessions_per_user", int64(l.SessionsPerUser)},
		{"sessions_per_address", int64(l.SessionsPerAddress)},
		{"frames_per_second", int64(l.FramesPerSecond)},
		{"connects_per_second", int64(l.ConnectsPerSecond)},
	} {
		if n.value <= 0 {
			v.fault("limits."+n.key, "must be more than 0")
		}
	}
	if l.Queue < l.Message && l.Queue > 0 {
		v.fault("limits.queue", "%v cannot hold one message of limits.message (%v): every session would be cut", l.Queue, l.Message)
	}
	if v.Auth.Leeway < 0 {
		v.fault("auth.leeway", "must not be negative")
	}
	if v.Drain.Delay < 0 {
		v.fault("drain.delay", "must not be negative")
	}
	if v.Drain.Spread < 0 {
		v.fault("drain.spread", "must not be negative")
	}
}

func (v *validator) log() {
	if _, ok := logLevels[v.Log.Level]; !ok {
		v.fault("log.level", "%q is not a level: choose debug, info, warn or error", v.Log.Level)
	}
	if v.Log.Format != "text" && v.Log.Format != "json" {
		v.fault("log.format", "%q is not a format: choose text or json", v.Log.Format)
	}
}
