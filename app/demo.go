package main

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"time"

	"aldaba/app/server"
	"aldaba/auth"
)

// demoPatterns show each kind of pattern once.
func demoPatterns() []auth.Pattern {
	const admin = `"admin" in claims.roles`
	return []auth.Pattern{
		{Name: "user:{sub}", History: &auth.History{Size: 100, TTL: 72 * time.Hour}},
		{Name: "room:{rooms}", Publish: true, Presence: true, History: &auth.History{Size: 100, TTL: 72 * time.Hour}},
		{Name: "org:{org.id}:news"},
		{Name: "team:{teams}", Join: auth.JoinOnRequest},
		{Name: "broadcast"},
		{Name: "broadcast", If: admin, Publish: true},
		{Name: "blogpost"},
		{Name: "room:*", Join: auth.JoinOnRequest, If: admin, Publish: true},
	}
}

// demoUser is somebody whom the demo page can be.
type demoUser struct {
	name, displayName string
	rooms, teams      []string
	org               string
	roles             []string
}

var demoUsers = []demoUser{
	{"anna", "Anna", []string{"lobby", "garden"}, []string{"blue"}, "acme", []string{}},
	{"ben", "Ben", []string{"lobby"}, []string{"blue", "red"}, "acme", []string{}},
	{"carla", "Carla", []string{"garden"}, []string{"red"}, "umbra", []string{}},
	{"dora", "Dora (admin)", []string{}, []string{}, "acme", []string{"admin"}},
}

// claims are what the user's token says, besides who made it and when.
func (u demoUser) claims() map[string]any {
	return map[string]any{
		"sub":   u.name,
		"name":  u.displayName,
		"rooms": anys(u.rooms),
		"teams": anys(u.teams),
		"org":   map[string]any{"id": u.org},
		"roles": anys(u.roles),
	}
}

func anys(words []string) []any {
	list := make([]any, len(words))
	for i, w := range words {
		list[i] = w
	}
	return list
}

// newDevSecret returns a key for one run.
func newDevSecret() string {
	random := make([]byte, 32)
	rand.Read(random)
	return auth.DevSecretPrefix + hex.EncodeToString(random)
}

// devIssuer is whose tokens a development hub believes.
func devIssuer(secret string) auth.Issuer {
	i := newIssuer()
	i.Issuer = "aldaba-dev"
	i.Secret = secret
	return i
}

// newDemo is what the demo page works with.
func newDemo(issuer auth.Issuer, policy *auth.Policy, info server.DemoInfo) *server.Demo {
	d := &server.Demo{Info: info}
	for _, u := range demoUsers {
		granted := policy.Grants(&auth.Claims{User: u.name, Values: u.claims()}).Auto()
		channels := make([]string, len(granted))
		for i, g := range granted {
			channels[i] = g.Channel
		}
		d.Users = append(d.Users, server.DemoUser{
			Name: u.name, DisplayName: u.displayName, Rooms: u.rooms, Teams: u.teams,
			Org: u.org, Roles: u.roles, Channels: channels,
		})
	}
	d.Token = func(user string, ttl time.Duration) (string, time.Time, bool) {
		for _, u := range demoUsers {
			if u.name == user {
				token, expiresAt, err := signToken(issuer, u.claims(), ttl)
				return token, expiresAt, err == nil
			}
		}
		return "", time.Time{}, false
	}
	return d
}

// signToken adds to claims what issuer's verifier asks for, and signs them.
// What claims already say is left as it is.
func signToken(issuer auth.Issuer, claims map[string]any, ttl time.Duration) (string, time.Time, error) {
	now := time.Now()
	expiresAt := now.Add(ttl).Truncate(time.Second)
	all := map[string]any{"iat": now.Unix(), "exp": expiresAt.Unix()}
	if issuer.Issuer != "" {
		all["iss"] = issuer.Issuer
	}
	if issuer.Audience != "" {
		all["aud"] = issuer.Audience
	}
	maps.Copy(all, claims)
	token, err := auth.Sign(issuer, all)
	return token, expiresAt, err
}
