package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"aldaba/auth"
)

type tokenCmd struct {
	Sub    string         `required:"" placeholder:"USER" help:"Who the token is for."`
	Claim  []string       `sep:"none" placeholder:"K=JSON" help:"A further claim; may be given many times."`
	TTL    *time.Duration `name:"ttl" placeholder:"1h" help:"How long the token is good; an hour if not said."`
	Config string         `placeholder:"FILE" help:"Configuration with the key to sign with."`
	JSON   bool           `name:"json" help:"Print an object with token and expires_at."`
}

// Help is shown by --help.
func (tokenCmd) Help() string {
	return `Signs with the first issuer of the configuration that has a secret (HS256, HS384, HS512). Without --config
that is ./config.yaml, and if that has no issuer, the running "aldaba dev".

    aldaba token --sub anna --claim rooms='["lobby"]' --claim org='{"id":"acme"}' --ttl 10m`
}

func (c *tokenCmd) Run(sh *shell) error {
	ttl := time.Hour
	if c.TTL != nil {
		ttl = *c.TTL
	}
	if ttl <= 0 {
		return misuse("--ttl must be more than 0; for a token that has expired: --claim exp=1")
	}
	if c.Sub == "" {
		return misuse("--sub must not be empty")
	}
	extra, err := parseClaims(c.Claim)
	if err != nil {
		return err
	}
	s, err := loadOrDev(c.Config, sh.environ, hasIssuers)
	if err != nil {
		return err
	}
	i, err := signingIssuer(s)
	if err != nil {
		return err
	}
	claims := make(map[string]any)
	setClaim(claims, s.Auth.Issuers[i].UserClaim, c.Sub)
	if err := c.contradiction(s.Auth.Issuers[i].UserClaim, extra); err != nil {
		return err
	}
	maps.Copy(claims, extra)
	token, expiresAt, err := signToken(s.Auth.Issuers[i], claims, ttl)
	if err != nil {
		if all := authFaults(err, fmt.Sprintf("auth.issuers[%d].", i), s.origins); isAuthFault(err) {
			return all.orNil()
		}
		return err
	}
	if c.JSON {
		return json.NewEncoder(sh.out).Encode(map[string]any{"token": token, "expires_at": expiresAt.Unix()})
	}
	_, err = fmt.Fprintln(sh.out, token)
	return err
}

// contradiction refuses a claim that says otherwise than a flag does: the token
// would be another than the one asked for.
func (c *tokenCmd) contradiction(userClaim string, extra map[string]any) error {
	userClaim = cmp.Or(userClaim, "sub")
	top, _, _ := strings.Cut(userClaim, ".")
	for _, name := range []string{userClaim, top} {
		if _, twice := extra[name]; twice {
			return misuse("--claim %s and --sub both name the user: leave it out of --claim", name)
		}
	}
	if _, twice := extra["exp"]; twice && c.TTL != nil {
		return misuse("--claim exp and --ttl both say when the token ends: give one of them")
	}
	return nil
}

func isAuthFault(err error) bool {
	var f *auth.Fault
	return errors.As(err, &f)
}

// parseClaims takes `K=JSON` apart. Numbers keep every digit.
func parseClaims(args []string) (map[string]any, error) {
	claims := make(map[string]any, len(args))
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, misuse("--claim %s: write NAME=JSON, such as --claim rooms='[\"lobby\"]'", arg)
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var value any
		if err := d.Decode(&value); err != nil || d.More() {
			return nil, misuse("--claim %s: the value is not JSON; text takes double quotes inside the shell's: --claim %s='\"…\"'", key, key)
		}
		claims[key] = value
	}
	return claims, nil
}

// setClaim sets the claim at path, whose dots lead into nested objects.
func setClaim(claims map[string]any, path string, value any) {
	if path == "" {
		path = "sub"
	}
	for {
		key, rest, ok := strings.Cut(path, ".")
		if !ok {
			claims[key] = value
			return
		}
		inner := make(map[string]any)
		claims[key] = inner
		claims, path = inner, rest
	}
}

// signingIssuer returns the index of the first issuer that has a secret.
func signingIssuer(s *settings) (int, error) {
	if len(s.Auth.Issuers) == 0 {
		return 0, errors.New("no key to sign with: start `aldaba dev`, or name a configuration that has auth.issuers with --config")
	}
	for i, issuer := range s.Auth.Issuers {
		if strings.HasPrefix(issuer.Algorithm, "HS") || issuer.Algorithm == "" {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no issuer here has a secret to sign with: the private key of an %s issuer is where its tokens are made, get one there",
		s.Auth.Issuers[0].Algorithm)
}
