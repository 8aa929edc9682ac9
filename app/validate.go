package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"aldaba/app/server"
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
	s.origins.adopt()
	c, more := check(s)
	if err := append(all, withoutSpoilt(more, all)...).orNil(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// withoutSpoilt leaves those values' faults out that follow from a fault of form,
// such as that there are no issuers where they could not be read.
func withoutSpoilt(values, form faults) faults {
	return slices.DeleteFunc(values, func(f fault) bool {
		return f.origin.variable == "" && slices.ContainsFunc(form, func(g fault) bool { return g.spoils(f.path) })
	})
}

// check finds what is wrong with the values of s. The caller closes what it
// returns.
func check(s *settings) (*checked, faults) {
	v := &validator{settings: s}
	v.addresses()
	v.tls()
	v.browsers()
	v.proxies()
	v.redis()
	v.numbers()
	v.log()
	publishers := v.publishers()
	c := &checked{settings: s, judge: v.judge()}
	c.publishers = publishers
	return c, v.faults
}

// judge says who somebody is, and what is theirs.
type judge struct {
	verifier   *auth.Verifier
	policy     *auth.Policy
	publishers []server.Publisher
	stop       context.CancelFunc // of what keeps the issuers' keys fresh
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
		key, secret := secretOf(issuer)
		if !v.dev && strings.HasPrefix(secret, auth.DevSecretPrefix) {
			v.fault(fmt.Sprintf("auth.issuers[%d].%s", i, key), "is the key of a development hub: make one of your own, such as `openssl rand -hex 32` does")
		}
	}
	leeway := max(0, v.Auth.Leeway) // less was said to be a fault already
	verifier, err := auth.NewVerifier(ctx, v.Auth.Issuers, leeway)
	v.faults = append(v.faults, authFaults(err, "auth.issuers", v.origins)...)
	return verifier
}

// secretOf is an issuer's secret and the key that holds it; empty if it has none
// or its file cannot be read, which auth says in its own words.
func secretOf(issuer auth.Issuer) (key, secret string) {
	if issuer.Secret != "" || issuer.SecretFile == "" {
		return "secret", issuer.Secret
	}
	about, err := os.Stat(issuer.SecretFile)
	if err != nil || !about.Mode().IsRegular() {
		return "secret_file", "" // a pipe can be read once, and that is for auth
	}
	text, err := readSecretFile(issuer.SecretFile)
	if err != nil {
		return "secret_file", ""
	}
	return "secret_file", text
}

// readSecretFile returns what file holds, as far as a secret can be long.
func readSecretFile(file string) (string, error) {
	const longest = 64 << 10
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longest))
	return strings.TrimSpace(string(text)), err
}

func (v *validator) patterns() *auth.Policy {
	v.repeated(v.Channels)
	policy, err := auth.NewPolicy(v.Channels)
	v.faults = append(v.faults, authFaults(err, "channels", v.origins)...)
	return policy
}

// repeated finds patterns that are there already. One name may stand under
// several conditions, each granting something else.
func (v *validator) repeated(channels []auth.Pattern) {
	type grant struct{ name, condition string }
	first := make(map[grant]int, len(channels))
	for i, p := range channels {
		g := grant{p.Name, p.If}
		if j, again := first[g]; again && p.Name != "" {
			v.fault(fmt.Sprintf("channels[%d].name", i), "is granted by channels[%d] already, under the same condition: make one of the two", j)
			continue
		}
		first[g] = i
	}
}

// reasonOf is err without the path that the reader sees anyway.
func reasonOf(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
