package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goodIssuer is for those files that say nothing of issuers.
const goodIssuer = "ALDABA_AUTH_ISSUERS_0_SECRET=another-secret-of-more-than-32-bytes"

// TestConfigFaults holds each fault that a file can have against the lines that
// tell it: where, what, and how to mend it. There is nothing else, and no secret.
func TestConfigFaults(t *testing.T) {
	t.Chdir(t.TempDir())
	certificate, key := pairPEM(t)
	_, other := pairPEM(t)
	for name, text := range map[string]string{
		"cert.pem":  string(certificate),
		"key.pem":   string(key),
		"other.pem": string(other),
		"badcert":   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"encrypted": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",

		"short":   "hunter2\n",
		"dev":     "aldaba-dev-0123456789012345678901234567890123456789\n",
		"broken":  "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"private": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		writeFile(t, name, text)
	}
	for _, c := range configFaults {
		t.Run(c.name, func(t *testing.T) {
			writeFile(t, "config.yaml", c.text)
			var environ []string
			if !strings.Contains(c.text, "issuers") {
				environ = []string{goodIssuer}
			}
			got := faultLines(t, environ)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, secret := range []string{"hunter", "another-secret", "0123456789"} {
				if strings.Contains(strings.Join(got, "\n"), secret) {
					t.Errorf("a secret is told: %q", got)
				}
			}
		})
	}
}

// faultLines is what is wrong with ./config.yaml under environ, as people see it.
func faultLines(t *testing.T, environ []string) []string {
	t.Helper()
	c, err := loadChecked("config.yaml", environ)
	if err == nil {
		c.close()
		return nil
	}
	if _, ok := errors.AsType[faults](err); !ok {
		t.Fatal(err)
	}
	return strings.Split(err.Error(), "\n")
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

type configFault struct {
	name string
	text string
	want []string
}

var configFaults = []configFault{
	// What is no YAML, or not one document.
	{"empty file", "", nil},
	{"only comments", `# nothing
---
# at all
`, nil},
	{"byte order mark and directive", "\ufeff%YAML 1.2\n---\nlisten: 127.0.0.1:8081\n", nil},
	{"null for every heading", `listen:
redis:
limits:
auth:
  leeway: ~
`, nil},
	{"colon forgotten", `listen: 127.0.0.1:8080
admin_listen
log: {level: loud}
`, []string{
		"config.yaml:2: not YAML: non-map value is specified",
	}},
	{"bracket not closed", "allowed_origins: [https://a.example\n", []string{
		"config.yaml:1: not YAML: sequence end token ']' not found",
	}},
	{"tab for indentation", "limits:\n\x09message: 1KiB\n", []string{
		"config.yaml:2: not YAML: found character '\\u0009' that cannot start any token",
	}},
	{"not UTF-8", "listen: 127.0.0.1:8080\nredis: {prefix: \"\xff\"}\n", []string{
		"config.yaml:2: not UTF-8: save the file in that encoding",
	}},
	{"control character", "listen: \"a\x1b[2J\"\n", []string{
		"config.yaml:1: the character U+001B is not text: remove it",
	}},
	{"nested by brackets", "listen: a\nchannels: " + strings.Repeat("[", 101) + strings.Repeat("]", 101) + "\n", []string{
		"config.yaml:2: nested too deeply: at most 100 brackets, or hyphens in one line",
	}},
	{"nested by hyphens", strings.Repeat("- ", 101) + "a\n", []string{
		"config.yaml:1: nested too deeply: at most 100 brackets, or hyphens in one line",
	}},
	{"too long a file", strings.Repeat("#", maxText+1), []string{
		"config.yaml: too large: 262145B, at most 256KiB",
	}},
	{"two documents", `log: {level: loud}
---
listen: x
---
listen: y
`, []string{
		`config.yaml:1: log.level: "loud" is not a level: choose debug, info, warn or error`,
		"config.yaml:3: only one document per file: remove what follows `---`",
		"config.yaml:5: only one document per file: remove what follows `---`",
	}},
	{"text for all", "listen\n", []string{
		"config.yaml:1: must be a mapping of keys, not text",
	}},
	{"list for all", "- listen: a\n", []string{
		"config.yaml:1: must be a mapping of keys, not a list",
	}},

	// Keys.
	{"unknown key", "listne: a\n", []string{
		`config.yaml:1: listne: unknown key: did you mean "listen"?`,
	}},
	{"unknown key of no resemblance", "port: 80\n", []string{
		"config.yaml:1: port: unknown key: the keys here are admin_listen, allowed_origins, auth, channels, drain, limits, listen, log, publishers, redis, tls and trusted_proxies",
	}},
	{"unknown key, nested", `log:
  level: info
  colour: true
`, []string{
		"config.yaml:3: log.colour: unknown key: the keys here are format and level",
	}},
	{"unknown key, nested in a list", `channels:
  - name: a
    jion: auto
`, []string{
		`config.yaml:3: channels[0].jion: unknown key: did you mean "join"?`,
	}},
	{"key of no letters", "\"\": a\nlog: {level: loud}\n", []string{
		`config.yaml:1: "": unknown key: the keys here are admin_listen, allowed_origins, auth, channels, drain, limits, listen, log, publishers, redis, tls and trusted_proxies`,
		`config.yaml:2: log.level: "loud" is not a level: choose debug, info, warn or error`,
	}},
	{"key in capitals", "LISTEN: a\n", []string{
		"config.yaml:1: LISTEN: unknown key: the keys here are admin_listen, allowed_origins, auth, channels, drain, limits, listen, log, publishers, redis, tls and trusted_proxies",
	}},
	{"key said twice", `listen: 127.0.0.1:1
log: {level: info}
listen: 127.0.0.1:2
`, []string{
		"config.yaml:3: listen: said twice: the first is in line 1, remove one",
	}},
	{"key said twice, nested", `limits:
  queue: 2MiB
  message: 1KiB
  'queue': 3MiB
  queue: 0
`, []string{
		"config.yaml:4: limits.queue: said twice: the first is in line 2, remove one",
		"config.yaml:5: limits.queue: said twice: the first is in line 2, remove one",
	}},
	{"key said twice, both of them wrong", `log:
  level: loud
  level: quiet
`, []string{
		`config.yaml:2: log.level: "loud" is not a level: choose debug, info, warn or error`,
		"config.yaml:3: log.level: said twice: the first is in line 2, remove one",
	}},
	{"key of a second heading", `log: {level: info}
auth: {leeway: 1s}
log: {format: json}
`, []string{
		"config.yaml:3: log: said twice: the first is in line 1, remove one",
	}},
	{"secret glued to its key", `auth:
  issuers:
    - {secret:hunter2hunter2: 1}
`, []string{
		"config.yaml:3: auth.issuers[0].secret: 17 bytes are too few, at least 32: openssl rand -base64 48",
	}},
	{"merge key", `x: &x {level: info}
log:
  <<: *x
`, []string{
		"config.yaml:1: x: unknown key: the keys here are admin_listen, allowed_origins, auth, channels, drain, limits, listen, log, publishers, redis, tls and trusted_proxies",
		"config.yaml:3: log.<<: unknown key: nothing is merged here, write the keys out",
	}},
	{"key that steers a terminal", "\"\\e[2Jlisten\": a\n", []string{
		"config.yaml:1: …: unknown key: the keys here are admin_listen, allowed_origins, auth, channels, drain, limits, listen, log, publishers, redis, tls and trusted_proxies",
	}},

	// Types.
	{"text for a mapping", "redis: redis://localhost\n", []string{
		"config.yaml:1: redis: must be a mapping of keys, not text",
	}},
	{"list for a mapping", "limits: [1]\n", []string{
		"config.yaml:1: limits: must be a mapping of keys, not a list",
	}},
	{"mapping for a list", "channels: {name: a}\n", []string{
		"config.yaml:1: channels: must be a list, not a mapping",
	}},
	{"text for a list", "allowed_origins: https://a.example\n", []string{
		"config.yaml:1: allowed_origins: must be a list, not text",
	}},
	{"text for the list of issuers", "auth: {issuers: none}\n", []string{
		"config.yaml:1: auth.issuers: must be a list, not text",
	}},
	{"text for auth", "auth: none\n", []string{
		"config.yaml:1: auth: must be a mapping of keys, not text",
	}},
	{"number for text", `auth:
  issuers:
    - secret: 1234567890
`, []string{
		"config.yaml:3: auth.issuers[0].secret: must be text, not a number: put it in quotes",
	}},
	{"mapping for text", `auth:
  issuers:
    - secret: {hunter2: hunter2}
`, []string{
		"config.yaml:3: auth.issuers[0].secret: must be text, not a mapping",
	}},
	{"true for text", `listen: yes
log: {level: true}
`, []string{
		`config.yaml:1: listen: "yes" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
		"config.yaml:2: log.level: must be text, not true or false: put it in quotes",
	}},
	{"text for true", "channels:\n  - {name: a, publish: \"true\", presence: on}\n", []string{
		"config.yaml:2: channels[0].publish: must be true or false, not text",
		"config.yaml:2: channels[0].presence: must be true or false, not text",
	}},
	{"fraction for a number", "limits: {frames_per_second: 1.5}\n", []string{
		"config.yaml:1: limits.frames_per_second: must be a whole number, not a fraction",
	}},
	{"text for a number", "limits: {frames_per_second: \"20\"}\n", []string{
		"config.yaml:1: limits.frames_per_second: must be a whole number, not text",
	}},
	{"tag", "listen: !!str a\n", []string{
		"config.yaml:1: listen: must be text, not a tag: put it in quotes",
	}},
	{"empty entry", `auth:
  issuers:
    -
channels:
  -
`, []string{
		"config.yaml:3: auth.issuers[0]: is empty",
		"config.yaml:5: channels[0]: is empty",
	}},
	{"alias of nothing", "listen: *nobody\n", []string{
		"config.yaml:1: listen: must be text, not an alias of nothing: put it in quotes",
	}},

	// Aliases.
	{"alias", `listen: &a 127.0.0.1:8081
admin_listen: ""
channels:
  - {name: a, if: &c 'true'}
  - {name: b, if: *c}
`, nil},
	{"fault of what an alias repeats", `channels:
  - &p {name: "a b"}
  - *p
`, []string{
		"config.yaml:2: channels[1].name: is granted by channels[0] already, under the same condition: make one of the two",
		`config.yaml:2: channels[0].name: "a b" has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - % outside of braces`,
		`config.yaml:2: channels[1].name: "a b" has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - % outside of braces`,
	}},
	{"alias of itself", "channels: &a [*a]\n", []string{
		"config.yaml:1: channels[0]: must be a mapping of keys, not a list",
	}},

	// Values.
	{"duration without unit", "auth: {leeway: 30}\n", []string{
		`config.yaml:1: auth.leeway: "30" is not a duration: write a number with its unit, such as 30s, 5m or 72h`,
	}},
	{"duration of no unit we know", "drain: {delay: 1 day, spread: 1d}\n", []string{
		`config.yaml:1: drain.delay: "1 day" is not a duration: write a number with its unit, such as 30s, 5m or 72h`,
		`config.yaml:1: drain.spread: "1d" is not a duration: write a number with its unit, such as 30s, 5m or 72h`,
	}},
	{"duration beyond all bounds", "auth: {leeway: 9999999h}\n", []string{
		`config.yaml:1: auth.leeway: "9999999h" is not a duration: write a number with its unit, such as 30s, 5m or 72h`,
	}},
	{"negative durations", `auth: {leeway: -1s}
drain: {delay: -1s, spread: -1s}
`, []string{
		"config.yaml:1: auth.leeway: must not be negative",
		"config.yaml:2: drain.delay: must not be negative",
		"config.yaml:2: drain.spread: must not be negative",
	}},
	{"size of no unit we know", "limits: {message: 64KB, queue: 1.5MiB}\n", []string{
		`config.yaml:1: limits.message: "64KB" is not a size: write a whole number of bytes, KiB or MiB, such as 64KiB`,
		`config.yaml:1: limits.queue: "1.5MiB" is not a size: write a whole number of bytes, KiB or MiB, such as 64KiB`,
	}},
	{"size beyond all bounds", "limits: {queue: 99999999999GiB}\n", []string{
		`config.yaml:1: limits.queue: "99999999999GiB" is not a size: write a whole number of bytes, KiB or MiB, such as 64KiB`,
	}},
	{"number beyond all bounds", "limits: {sessions_per_user: 99999999999999999999}\n", []string{
		"config.yaml:1: limits.sessions_per_user: must be a whole number, not text",
	}},
	{"limits of zero", `limits:
  message: 0
  queue: 0
  channels_per_session: 0
  sessions_per_user: 0
  sessions_per_address: 0
  frames_per_second: 0
  connects_per_second: 0
`, []string{
		"config.yaml:2: limits.message: must be more than 0",
		"config.yaml:3: limits.queue: must be more than 0",
		"config.yaml:4: limits.channels_per_session: must be more than 0",
		"config.yaml:5: limits.sessions_per_user: must be more than 0",
		"config.yaml:6: limits.sessions_per_address: must be more than 0",
		"config.yaml:7: limits.frames_per_second: must be more than 0",
		"config.yaml:8: limits.connects_per_second: must be more than 0",
	}},
	{"limits below zero", `limits:
  message: -1KiB
  queue: -1
  channels_per_session: -1
  sessions_per_user: -1
  sessions_per_address: -1
  frames_per_second: -1
  connects_per_second: -1
`, []string{
		"config.yaml:2: limits.message: must be more than 0",
		"config.yaml:3: limits.queue: must be more than 0",
		"config.yaml:4: limits.channels_per_session: must be more than 0",
		"config.yaml:5: limits.sessions_per_user: must be more than 0",
		"config.yaml:6: limits.sessions_per_address: must be more than 0",
		"config.yaml:7: limits.frames_per_second: must be more than 0",
		"config.yaml:8: limits.connects_per_second: must be more than 0",
	}},
	{"queue smaller than a message", "limits: {message: 2MiB}\n", []string{
		"config.yaml:1: limits.queue: 1MiB cannot hold one message of limits.message (2MiB): every session would be cut",
	}},
	{"listen without port", `listen: localhost
admin_listen: 127.0.0.1:99999
`, []string{
		`config.yaml:1: listen: "localhost" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
		`config.yaml:2: admin_listen: "99999" is not a port`,
	}},
	{"listen on no host", "listen: http://localhost:80\n", []string{
		`config.yaml:1: listen: "http://localhost:80" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
	}},
	{"listen on nothing", "listen: \"\"\nadmin_listen: \"\"\n", []string{
		`config.yaml:1: listen: "" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
	}},
	{"same address twice", `listen: :9080
admin_listen: :9080
`, []string{
		"config.yaml:2: admin_listen: must not be the public address: choose another port, or leave it empty",
	}},
	{"origin with a path", `allowed_origins:
  - https://a.example
  - https://a.example/
  - https://a.example/app
`, []string{
		`config.yaml:3: allowed_origins[1]: "https://a.example/" is more than an origin: leave out what follows the host`,
		`config.yaml:4: allowed_origins[2]: "https://a.example/app" is more than an origin: leave out what follows the host`,
	}},
	{"origin of everybody", "allowed_origins: [\"*\", \"https://*.example\", \"null\"]\n", []string{
		`config.yaml:1: allowed_origins[0]: "*": there are no wildcards here; name each origin`,
		`config.yaml:1: allowed_origins[1]: "https://*.example": there are no wildcards here; name each origin`,
		`config.yaml:1: allowed_origins[2]: "null" is any sandboxed page: write scheme://host or scheme://host:port, such as https://app.example.com`,
	}},
	{"origin without scheme", "allowed_origins: [a.example, \"localhost:3000\", \"\"]\n", []string{
		`config.yaml:1: allowed_origins[0]: "a.example" is not an origin: write scheme://host or scheme://host:port, such as https://app.example.com`,
		`config.yaml:1: allowed_origins[1]: "localhost:3000" is not an origin: write scheme://host or scheme://host:port, such as https://app.example.com`,
		`config.yaml:1: allowed_origins[2]: "" is not an origin: write scheme://host or scheme://host:port, such as https://app.example.com`,
	}},
	{"origin as no browser sends it", "allowed_origins: [HTTPS://a.example, \"https://a.example:443\", \"https://a.example:\", \"https://a.example:99999\"]\n", []string{
		`config.yaml:1: allowed_origins[0]: "HTTPS://a.example": browsers send it in lower case, and foreign letters as xn--…`,
		`config.yaml:1: allowed_origins[1]: "https://a.example:443": browsers leave the scheme's own port out`,
		`config.yaml:1: allowed_origins[2]: "https://a.example:" has no port after its colon`,
		`config.yaml:1: allowed_origins[3]: "99999" is not a port`,
	}},
	{"password in an origin", "allowed_origins: [\"https://u:hunter2@a.example\", \"https://u:hunter2@*.example\"]\n", []string{
		`config.yaml:1: allowed_origins[0]: "…@a.example" is not an origin: write scheme://host or scheme://host:port, such as https://app.example.com`,
		`config.yaml:1: allowed_origins[1]: "…@*.example": there are no wildcards here; name each origin`,
	}},
	{"certificate without key", "tls:\n  cert_file: cert.pem\n", []string{
		"config.yaml:1: tls.key_file: is missing: a certificate and its key go together; for plain HTTP leave both empty",
	}},
	{"key without certificate", "tls:\n  cert_file: \"\"\n  key_file: absent\n", []string{
		"config.yaml:2: tls.cert_file: is missing: a certificate and its key go together; for plain HTTP leave both empty",
		"config.yaml:3: tls.key_file: cannot be read: no such file or directory",
	}},
	{"certificate and key of no file", "tls:\n  cert_file: absent\n  key_file: .\n", []string{
		"config.yaml:2: tls.cert_file: cannot be read: no such file or directory",
		"config.yaml:3: tls.key_file: is not a regular file",
	}},
	{"certificate without end", "tls: {cert_file: /dev/zero, key_file: key.pem}\n", []string{
		"config.yaml:1: tls.cert_file: is not a regular file",
	}},
	{"certificate that is none", "tls:\n  cert_file: key.pem\n  key_file: cert.pem\n", []string{
		"config.yaml:2: tls.cert_file: has no certificate: it begins with -----BEGIN CERTIFICATE-----",
	}},
	{"certificate that is broken", "tls:\n  cert_file: badcert\n  key_file: key.pem\n", []string{
		"config.yaml:2: tls.cert_file: certificate 1 of it is broken: malformed certificate",
	}},
	{"key that is none", "tls:\n  cert_file: cert.pem\n  key_file: short\n", []string{
		"config.yaml:3: tls.key_file: has no private key: it begins with -----BEGIN PRIVATE KEY-----",
	}},
	{"key that is broken", "tls:\n  cert_file: cert.pem\n  key_file: private\n", []string{
		"config.yaml:3: tls.key_file: failed to parse private key",
	}},
	{"key that is encrypted", "tls:\n  cert_file: cert.pem\n  key_file: encrypted\n", []string{
		"config.yaml:3: tls.key_file: is encrypted, and nobody is there to ask for the password: openssl pkey -in KEY -out PLAIN",
	}},
	{"key of another certificate", "tls:\n  cert_file: cert.pem\n  key_file: other.pem\n", []string{
		"config.yaml:3: tls.key_file: is the key of another certificate than the first one in cert_file",
	}},
	{"certificate and key", "tls: {cert_file: cert.pem, key_file: key.pem}\n", nil},
	{"proxies", "trusted_proxies: [localhost, \"10.0.0.1:80\", 10.0.0.0/33, 0.0.0.0/0, \"::/0\"]\n", []string{
		`config.yaml:1: trusted_proxies[0]: "localhost" is not an address or a network: write 10.0.0.7 or 10.0.0.0/8`,
		`config.yaml:1: trusted_proxies[1]: "10.0.0.1:80" is not an address or a network: write 10.0.0.7 or 10.0.0.0/8`,
		`config.yaml:1: trusted_proxies[2]: "10.0.0.0/33" is not an address or a network: write 10.0.0.7 or 10.0.0.0/8`,
		`config.yaml:1: trusted_proxies[3]: "0.0.0.0/0" would let every client choose its own address: name your proxies only`,
		`config.yaml:1: trusted_proxies[4]: "::/0" would let every client choose its own address: name your proxies only`,
	}},
	{"redis over http", "redis: {url: \"http://u:hunter2@localhost\"}\n", []string{
		`config.yaml:1: redis.url: has an unknown scheme "http": want redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://`,
	}},
	{"redis without scheme", "redis: {url: \"localhost:6379\"}\n", []string{
		`config.yaml:1: redis.url: has an unknown scheme "localhost": want redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://`,
	}},
	{"redis without host", "redis: {url: \"redis://\"}\n", []string{
		"config.yaml:1: redis.url: has no host: want redis://host:port",
	}},
	{"redis password not encoded", "redis: {url: \"redis://u:hun%ter2@localhost\"}\n", []string{
		"config.yaml:1: redis.url: cannot be parsed: percent-encode special characters of the password",
	}},
	{"redis password with a slash", "redis: {url: \"redis://u:1/hunter2@localhost\"}\n", []string{
		"config.yaml:1: redis.url: cannot be parsed: percent-encode special characters of the password",
	}},
	{"redis password with a hash", "redis: {url: \"redis://u:1#hunter2@localhost\"}\n", []string{
		"config.yaml:1: redis.url: cannot be parsed: percent-encode special characters of the password",
	}},
	{"redis option unknown", "redis: {url: \"redis://u:hunter2@localhost?colour=red\"}\n", []string{
		"config.yaml:1: redis.url: redis: unexpected option: colour",
	}},
	{"redis sentinel without name", "redis: {url: \"redis+sentinel://u:hunter2@localhost\"}\n", []string{
		"config.yaml:1: redis.url: sentinels need ?master_name=",
	}},
	{"redis prefix", "redis: {prefix: \"a b\"}\n", []string{
		`config.yaml:1: redis.prefix: "a b" is not a prefix: at most 64 of A-Z a-z 0-9 _ . : @ # / | + = ~ - %`,
	}},
	{"log", `log:
  level: INFO
  format: xml
`, []string{
		`config.yaml:2: log.level: "INFO" is not a level: choose debug, info, warn or error`,
		`config.yaml:3: log.format: "xml" is not a format: choose text or json`,
	}},

	// Who somebody is.
	{"no issuer", `auth:
  issuers: []
`, []string{
		"config.yaml:2: auth.issuers: no issuer, so no token could be accepted: set auth.issuers, or for one shared secret ALDABA_AUTH_ISSUERS_0_SECRET (at least 32 bytes, such as `openssl rand -hex 32` makes)",
	}},
	{"issuer without key", `auth:
  issuers:
    - issuer: https://issuer.example
    - algorithm: RS256
`, []string{
		"config.yaml:3: auth.issuers[0].secret: no key: HS256 needs secret or secret_file",
		"config.yaml:4: auth.issuers[1].public_key_file: no key: RS256 needs public_key_file or jwks_url",
	}},
	{"algorithm unknown", `auth:
  issuers:
    - algorithm: none
    - algorithm: hs256
      secret: another-secret-of-more-than-32-bytes
`, []string{
		`config.yaml:3: auth.issuers[0].algorithm: unknown algorithm "none": HS, RS, PS or ES with 256, 384 or 512, or EdDSA`,
		`config.yaml:4: auth.issuers[1].algorithm: unknown algorithm "hs256": HS, RS, PS or ES with 256, 384 or 512, or EdDSA`,
	}},
	{"secret too short", `auth:
  issuers:
    - secret: hunter2
    - secret_file: short
`, []string{
		"config.yaml:3: auth.issuers[0].secret: 7 bytes are too few, at least 32: openssl rand -base64 48",
		"config.yaml:4: auth.issuers[1].secret_file: 7 bytes are too few, at least 32: openssl rand -base64 48",
	}},
	{"secret of a development hub", `auth:
  issuers:
    - secret: aldaba-dev-0123456789012345678901234567890123456789
    - algorithm: HS512
      secret_file: dev
`, []string{
		"config.yaml:3: auth.issuers[0].secret: is the key of a development hub: make one of your own, such as `openssl rand -hex 32` does",
		"config.yaml:5: auth.issuers[1].secret_file: is the key of a development hub: make one of your own, such as `openssl rand -hex 32` does",
	}},
	{"placeholder for a secret", `auth:
  issuers:
    - secret: change-me-change-me-change-me-change-me
`, []string{
		"config.yaml:3: auth.issuers[0].secret: this is a placeholder, not a secret: openssl rand -base64 48",
	}},
	{"secret and secret_file", `auth:
  issuers:
    - secret: another-secret-of-more-than-32-bytes
      secret_file: short
`, []string{
		"config.yaml:4: auth.issuers[0].secret_file: only one of secret or secret_file: secret is set as well",
	}},
	{"secret file missing", `auth:
  issuers:
    - secret_file: absent
`, []string{
		"config.yaml:3: auth.issuers[0].secret_file: open absent: no such file or directory",
	}},
	{"secret file that is a directory", `auth:
  issuers:
    - secret_file: .
`, []string{
		"config.yaml:3: auth.issuers[0].secret_file: read .: is a directory",
	}},
	{"secret for a public key", `auth:
  issuers:
    - algorithm: ES256
      secret: another-secret-of-more-than-32-bytes
`, []string{
		"config.yaml:4: auth.issuers[0].secret: ES256 takes its key from public_key_file or jwks_url, not from secret or secret_file",
	}},
	{"public key missing", `auth:
  issuers:
    - algorithm: RS256
      public_key_file: absent
`, []string{
		"config.yaml:4: auth.issuers[0].public_key_file: open absent: no such file or directory",
	}},
	{"public key that is no PEM", `auth:
  issuers:
    - algorithm: EdDSA
      public_key_file: short
`, []string{
		"config.yaml:4: auth.issuers[0].public_key_file: no PEM block in this file: it begins with -----BEGIN PUBLIC KEY-----",
	}},
	{"public key that is broken", `auth:
  issuers:
    - algorithm: EdDSA
      public_key_file: broken
`, []string{
		"config.yaml:4: auth.issuers[0].public_key_file: not a public key: asn1: structure error: tags don't match (16 vs {class:0 tag:0 length:0 isCompound:false}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} publicKeyInfo @2",
	}},
	{"private key", `auth:
  issuers:
    - algorithm: EdDSA
      public_key_file: private
`, []string{
		"config.yaml:4: auth.issuers[0].public_key_file: this is a private key, which the hub must not have: openssl pkey -pubout",
	}},
	{"keys over http", `auth:
  issuers:
    - algorithm: RS256
      jwks_url: http://issuer.example/jwks
`, []string{
		`config.yaml:4: auth.issuers[0].jwks_url: "http" is not safe for keys: https, or http to this machine only`,
	}},
	{"keys by file", `auth:
  issuers:
    - algorithm: RS256
      jwks_url: file:///etc/jwks
`, []string{
		"config.yaml:4: auth.issuers[0].jwks_url: not an absolute URL such as https://issuer.example/.well-known/jwks.json",
	}},
	{"password for the keys", `auth:
  issuers:
    - algorithm: RS256
      jwks_url: https://u:hunter2@issuer.example/jwks
`, []string{
		"config.yaml:4: auth.issuers[0].jwks_url: a URL with a password ends up in logs",
	}},
	{"user claim", `auth:
  issuers:
    - secret: another-secret-of-more-than-32-bytes
      user_claim: a..b
`, []string{
		"config.yaml:4: auth.issuers[0].user_claim: a claim's name has text on both sides of each dot",
	}},
	{"cookie without origins", "auth: {cookie: session}\n", []string{
		"config.yaml:1: auth.cookie: needs allowed_origins: a browser sends a cookie along from any page, so name those that may connect",
	}},
	{"cookie of no name", "allowed_origins: [https://a.example]\nauth: {cookie: \"a b\"}\n", []string{
		`config.yaml:2: auth.cookie: "a b" cannot be a cookie's name`,
	}},

	// What is theirs.
	{"pattern without name", `channels:
  - join: auto
  - name: ""
`, []string{
		"config.yaml:2: channels[0].name: the name is missing",
		"config.yaml:3: channels[1].name: the name is missing",
	}},
	{"brace not closed", `channels:
  - name: user:{sub
  - name: user:sub}
`, []string{
		"config.yaml:2: channels[0].name: a brace is opened and not closed",
		"config.yaml:3: channels[1].name: a brace is closed that was not opened",
	}},
	{"bad characters", `channels:
  - name: "a b"
  - name: añ
  - name: a?
`, []string{
		`config.yaml:2: channels[0].name: "a b" has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - % outside of braces`,
		`config.yaml:3: channels[1].name: "añ" has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - % outside of braces`,
		`config.yaml:4: channels[2].name: "a?" has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - % outside of braces`,
	}},
	{"empty segment", `channels:
  - name: a::b
  - name: "a:"
`, []string{
		"config.yaml:2: channels[0].name: a segment between colons is empty",
		"config.yaml:3: channels[1].name: a segment between colons is empty",
	}},
	{"the hub's own name", `channels:
  - name: aldaba:control
`, []string{
		"config.yaml:2: channels[0].name: names that begin with aldaba: are the hub's own",
	}},
	{"part of a segment", `channels:
  - name: room:a*
`, []string{
		"config.yaml:2: channels[0].name: `*` stands for a whole segment, not for a part as in \"a*\"",
	}},
	{"same pattern twice", `channels:
  - name: room:{rooms}
  - name: room:*
    if: claims.admin == true
  - name: room:*
  - name: room:{rooms}
    publish: true
`, []string{
		"config.yaml:6: channels[3].name: is granted by channels[0] already, under the same condition: make one of the two",
	}},
	{"join unknown", `channels:
  - name: a
    join: always
  - name: room:*
    join: auto
`, []string{
		`config.yaml:3: channels[0].join: "always" is neither auto nor on-request`,
		"config.yaml:5: channels[1].join: `*` stands for too many channels to join by itself: on-request",
	}},
	{"condition that is none", `channels:
  - name: a
    if: claims.
`, []string{
		"config.yaml:3: channels[0].if: column 8: Syntax error: no viable alternative at input '.'",
	}},
	{"condition of another type", `channels:
  - name: a
    if: 1 + 1
  - name: b
    if: claims.admin
  - name: c
    if: token.admin == true
`, []string{
		"config.yaml:3: channels[0].if: a condition is true or false, this is of type int: compare it, as in claims.admin == true",
		"config.yaml:5: channels[1].if: a condition is true or false, this is of type dyn: compare it, as in claims.admin == true",
		"config.yaml:7: channels[2].if: column 1: undeclared reference to 'token'",
	}},
	{"history", `channels:
  - name: a
    history: {size: 0, ttl: 1ms}
  - name: b
    history: {size: 10001, ttl: 1000h}
  - name: c
    history: {size: 10}
`, []string{
		"config.yaml:3: channels[0].history.size: a history keeps 1 to 10000 messages",
		"config.yaml:3: channels[0].history.ttl: a history keeps messages for at least a second, such as 72h",
		"config.yaml:5: channels[1].history.size: a history keeps 1 to 10000 messages",
		"config.yaml:7: channels[2].history.ttl: a history keeps messages for at least a second, such as 72h",
	}},
	{"publishers", `publishers:
  - name: billing
    key: hunter2
    channels: ["a*"]
  - name: billing
    key_file: absent
  - key: 0123456789abcdef0123456789abcdef
    key_file: absent
    channels: [a]
  - name: spaces
    key: 0123456789abcdef 0123456789abcdef
    channels: ["*"]
  - name: first
    key: 0123456789abcdef0123456789abcdef
    channels: ["a:*:b", "aldaba:x"]
  - name: second
    key: 0123456789abcdef0123456789abcdef
    channels: [a]
`, []string{
		"config.yaml:3: publishers[0].key: is too short: it takes at least 32 bytes, such as `openssl rand -hex 32` makes",
		"config.yaml:4: publishers[0].channels[0]: \"a*\" is not a channel, and `*` stands for a whole segment between `:` only",
		"config.yaml:5: publishers[1].name: is taken by another publisher",
		"config.yaml:5: publishers[1].channels: is empty: name the patterns it may publish to, such as user:*",
		"config.yaml:6: publishers[1].key_file: cannot be read: no such file or directory",
		"config.yaml:7: publishers[2].name: is missing: a publisher is known by its name",
		"config.yaml:8: publishers[2].key_file: give key or key_file, not both",
		"config.yaml:11: publishers[3].key: has what a header cannot carry, such as white space: `openssl rand -hex 32` makes a good one",
		"config.yaml:15: publishers[4].channels[1]: \"aldaba:x\" is not a channel, and `*` stands for a whole segment between `:` only",
		"config.yaml:17: publishers[5].key: is the key of publishers[4], too: a request could not be told apart",
	}},

	// All at once.
	{"ten faults are ten lines", `listne: a
listen: a
allowed_origins: ["*"]
trusted_proxies: x
redis:
  url: http://localhost
auth:
  leeway: 30
  issuers:
    - secret: hunter2
channels:
  - name: user:{sub
limits:
  queue: 0
log:
  level: loud
`, []string{
		`config.yaml:1: listne: unknown key: did you mean "listen"?`,
		`config.yaml:2: listen: "a" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
		`config.yaml:3: allowed_origins[0]: "*": there are no wildcards here; name each origin`,
		"config.yaml:4: trusted_proxies: must be a list, not text",
		`config.yaml:6: redis.url: has an unknown scheme "http": want redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://`,
		`config.yaml:8: auth.leeway: "30" is not a duration: write a number with its unit, such as 30s, 5m or 72h`,
		"config.yaml:10: auth.issuers[0].secret: 7 bytes are too few, at least 32: openssl rand -base64 48",
		"config.yaml:12: channels[0].name: a brace is opened and not closed",
		"config.yaml:14: limits.queue: must be more than 0",
		`config.yaml:16: log.level: "loud" is not a level: choose debug, info, warn or error`,
	}},
}
