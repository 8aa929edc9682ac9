package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"aldaba/auth"
)

// checked is a configuration without fault, and what was made of it.
type checked struct {
	*settings
	*judge
}

// loadChecked reads the configuration and reports everything wrong with it at
// once. The caller closes what it returns.
func loadChecked(file string, environ []string) (*checked, error) {
	s, all, err := read(file, environ)
	if err != nil {
		return nil, err
	}
	c, more := check(s)
	if err := append(all, more...).orNil(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// check finds what is wrong with the values of s. The caller closes what it
// returns.
func check(s *settings) (*checked, faults) {
	v := &validator{settings: s}
	v.addresses()
	v.browsers()
	v.proxies()
	v.redis()
	v.numbers()
	v.log()
	v.publishers()
	return &checked{settings: s, judge: v.judge()}, v.faults
}

// judge says who somebody is, and what is theirs.
type judge struct {
	verifier *auth.Verifier
	policy   *auth.Policy
	stop     context.CancelFunc // of what keeps the issuers' keys fresh
}

func (v *validator) judge() *judge {
	ctx, stop := context.WithCancel(context.Background())
	return &judge{verifier: v.issuers(ctx), policy: v.patterns(), stop: stop}
}

// close ends what goes on in the background. It is safe to call twice.
func (j *judge) close() {
	j.stop()
	if j.verifier != nil {
		j.verifier.Wait()
	}
}

// validator gathers what is wrong with the values of settings.
type validator struct {
	*settings

	faults faults
}

func (v *validator) fault(path, format string, args ...any) {
	v.faults = append(v.faults, v.origins.fault(path, fmt.Sprintf(format, args...)))
}

func (v *validator) issuers(ctx context.Context) *auth.Verifier {
	if len(v.Auth.Issuers) == 0 {
		v.fault("auth.issuers", "no issuer, so no token could be accepted: "+
			"set auth.issuers, or for one shared secret ALDABA_AUTH_ISSUERS_0_SECRET (at least 32 bytes, such as `openssl rand -hex 32` makes)")
		return nil
	}
	for i, issuer := range v.Auth.Issuers {
		path := fmt.Sprintf("auth.issuers[%d]", i)
		if !v.dev && strings.HasPrefix(secretOf(issuer), auth.DevSecretPrefix) {
			v.fault(path+".secret", "is the key of a development hub: make one of your own, such as `openssl rand -hex 32` does")
		}
	}
	verifier, err := auth.NewVerifier(ctx, v.Auth.Issuers, v.Auth.Leeway)
	v.faults = append(v.faults, authFaults(err, "auth.issuers", v.origins)...)
	return verifier
}

// secretOf is an issuer's secret, wherever it is kept; empty if it has none or
// its file cannot be read, which auth says in its own words.
func secretOf(issuer auth.Issuer) string {
	if issuer.Secret != "" || issuer.SecretFile == "" {
		return issuer.Secret
	}
	text, err := os.ReadFile(issuer.SecretFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (v *validator) patterns() *auth.Policy {
	channels := slices.Clone(v.Channels)
	for i := range channels {
		if channels[i].History != nil {
			v.fault(fmt.Sprintf("channels[%d].history", i), "history is not supported by this version; remove it")
			channels[i].History = nil // said enough about
		}
	}
	policy, err := auth.NewPolicy(channels)
	v.faults = append(v.faults, authFaults(err, "channels", v.origins)...)
	return policy
}

const publisherKeyBytes = 32

func (v *validator) publishers() {
	names := make(map[string]bool)
	for i, p := range v.Publishers {
		path := fmt.Sprintf("publishers[%d]", i)
		v.fault(path, "publishing by HTTP is not supported by this version; remove it")
		switch {
		case p.Name == "":
			v.fault(path+".name", "is missing: a publisher is known by its name")
		case names[p.Name]:
			v.fault(path+".name", "is taken by another publisher")
		}
		names[p.Name] = true
		if reason := badPublisherKey(p); reason != "" {
			v.fault(path+".key", "%s", reason)
		}
		if len(p.Channels) == 0 {
			v.fault(path+".channels", "is empty: name the patterns it may publish to, such as user:*")
		}
		for j, pattern := range p.Channels {
			if !validPublisherPattern(pattern) {
				v.fault(fmt.Sprintf("%s.channels[%d]", path, j), "%q is not a channel, and `*` stands for a whole segment between `:` only", pattern)
			}
		}
	}
}

func badPublisherKey(p Publisher) string {
	key := p.Key
	switch {
	case p.Key != "" && p.KeyFile != "":
		return "give key or key_file, not both"
	case p.KeyFile != "":
		text, err := os.ReadFile(p.KeyFile)
		if err != nil {
			return "key_file cannot be read: " + reasonOf(err)
		}
		key = strings.TrimSpace(string(text))
	}
	switch {
	case key == "":
		return "is missing: give key or key_file"
	case len(key) < publisherKeyBytes:
		return fmt.Sprintf("is too short: it takes at least %d bytes, such as `openssl rand -hex 32` makes", publisherKeyBytes)
	}
	return ""
}

func validPublisherPattern(pattern string) bool {
	segments := strings.Split(pattern, ":")
	for i, s := range segments {
		if s == "*" {
			segments[i] = "x"
		}
	}
	return auth.ValidChannel(strings.Join(segments, ":"))
}

// reasonOf is err without the path that the reader sees anyway.
func reasonOf(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
