package main

import (
	"time"

	"aldaba/auth"
	"aldaba/hub"
)

// Config is everything that config.yaml may say. The tags are the names that
// people's files and environment variables depend on.
type Config struct {
	Listen         string         `yaml:"listen"`
	AdminListen    string         `yaml:"admin_listen"`
	TLS            TLSConfig      `yaml:"tls"`
	AllowedOrigins []string       `yaml:"allowed_origins"`
	TrustedProxies []string       `yaml:"trusted_proxies"`
	Redis          RedisConfig    `yaml:"redis"`
	Auth           AuthConfig     `yaml:"auth"`
	Channels       []auth.Pattern `yaml:"channels"`
	Publishers     []Publisher    `yaml:"publishers"`
	Limits         LimitsConfig   `yaml:"limits"`
	Drain          DrainConfig    `yaml:"drain"`
	Log            LogConfig      `yaml:"log"`
}

// TLSConfig names the certificate of the public address; see server.KeyPair.
type TLSConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

func (t TLSConfig) on() bool { return t != TLSConfig{} }

// scheme is what a URL of the public address begins with.
func (t TLSConfig) scheme() string {
	if t.on() {
		return "https"
	}
	return "http"
}

// RedisConfig says which Redis carries the messages.
type RedisConfig struct {
	URL    string `yaml:"url"`
	Prefix string `yaml:"prefix"`
	// Recorder says whether this replica takes part in recording plain PUBLISHes.
	Recorder bool `yaml:"recorder"`
}

// AuthConfig says whose tokens are believed, and where they may travel.
type AuthConfig struct {
	Cookie  string        `yaml:"cookie"`
	Leeway  time.Duration `yaml:"leeway"`
	Issuers []auth.Issuer `yaml:"issuers"`
}

// Publisher is who may publish by HTTP.
type Publisher struct {
	Name     string   `yaml:"name"`
	Key      string   `yaml:"key"`
	KeyFile  string   `yaml:"key_file"`
	Channels []string `yaml:"channels"`
}

// LimitsConfig bounds what one client may take; see hub.Limits.
type LimitsConfig struct {
	Message            Size `yaml:"message"`
	Queue              Size `yaml:"queue"`
	ChannelsPerSession int  `yaml:"channels_per_session"`
	SessionsPerUser    int  `yaml:"sessions_per_user"`
	SessionsPerAddress int  `yaml:"sessions_per_address"`
	FramesPerSecond    int  `yaml:"frames_per_second"`
	ConnectsPerSecond  int  `yaml:"connects_per_second"`
}

// DrainConfig says how a replica takes its leave.
type DrainConfig struct {
	Delay  time.Duration `yaml:"delay"`
	Spread time.Duration `yaml:"spread"`
}

// LogConfig says what is logged, and how it looks.
type LogConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// defaultConfig is what holds for every key that nobody sets.
func defaultConfig() Config {
	limits := hub.DefaultLimits()
	return Config{
		Listen:      "127.0.0.1:8080",
		AdminListen: "127.0.0.1:9080",
		Redis:       RedisConfig{Recorder: true},
		Auth:        AuthConfig{Leeway: 30 * time.Second},
		Limits: LimitsConfig{
			Message:            Size(limits.Message),
			Queue:              Size(limits.Queue),
			ChannelsPerSession: limits.ChannelsPerSession,
			SessionsPerUser:    limits.SessionsPerUser,
			SessionsPerAddress: limits.SessionsPerAddress,
			FramesPerSecond:    limits.FramesPerSecond,
			ConnectsPerSecond:  limits.ConnectsPerSecond,
		},
		Drain: DrainConfig{Delay: 5 * time.Second, Spread: 20 * time.Second},
		Log:   LogConfig{Level: "info", Format: "text"},
	}
}

// newIssuer is what holds for every key that an entry of auth.issuers leaves out.
func newIssuer() auth.Issuer {
	return auth.Issuer{Algorithm: "HS256", UserClaim: "sub"}
}

func (l LimitsConfig) hub() hub.Limits {
	return hub.Limits{
		Message:            int64(l.Message),
		Queue:              int64(l.Queue),
		ChannelsPerSession: l.ChannelsPerSession,
		SessionsPerUser:    l.SessionsPerUser,
		SessionsPerAddress: l.SessionsPerAddress,
		FramesPerSecond:    l.FramesPerSecond,
		ConnectsPerSecond:  l.ConnectsPerSecond,
	}
}
