package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// leaf is a key that a variable can set.
type leaf struct {
	path string // auth.issuers[0].secret
	kind reflect.Type
}

// leavesOf returns the leaves below t, of lists those of the first entry.
func leavesOf(t reflect.Type, path string) []leaf {
	switch {
	case isScalar(t), t == reflect.TypeFor[[]string]():
		return []leaf{{path, t}}
	case t.Kind() == reflect.Pointer:
		return leavesOf(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return leavesOf(t.Elem(), path+"[0]")
	}
	var all []leaf
	for f := range t.Fields() {
		all = append(all, leavesOf(f.Type, joinPath(path, f.Tag.Get("yaml")))...)
	}
	return all
}

func configLeaves() []leaf { return leavesOf(reflect.TypeFor[Config](), "") }

// variable is the name that README and config.yaml promise: ALDABA_ and the path in capitals.
func (l leaf) variable() string {
	return "ALDABA_" + strings.ToUpper(strings.NewReplacer(".", "_", "[", "_", "]", "").Replace(l.path))
}

// in returns the value of the leaf in v.
func (l leaf) in(v reflect.Value) reflect.Value {
	for key := range strings.SplitSeq(strings.ReplaceAll(l.path, "[0]", ".[0]"), ".") {
		if key == "[0]" {
			v = v.Index(0)
			continue
		}
		if v = reflect.Indirect(v); v.IsValid() {
			v = fieldsOf(v)[key]
		}
	}
	return v
}

// sample is a value that is no key's default, as written and as read.
func (l leaf) sample() (text string, value any) {
	switch l.kind {
	case reflect.TypeFor[time.Duration]():
		return "1h2m3s", time.Hour + 2*time.Minute + 3*time.Second
	case reflect.TypeFor[Size]():
		return "3MiB", Size(3 << 20)
	case reflect.TypeFor[int]():
		return "123", 123
	case reflect.TypeFor[bool]():
		return "true", true
	case reflect.TypeFor[string]():
		return "some: {text}, it's", "some: {text}, it's"
	default:
		return "one, two,", []string{"one", "two"}
	}
}

func TestEnvironmentSetsEveryKey(t *testing.T) {
	names := make(map[string]string)
	for _, l := range configLeaves() {
		if other, taken := names[l.variable()]; taken {
			t.Errorf("%s is the variable of %s and of %s", l.variable(), other, l.path)
		}
		names[l.variable()] = l.path

		text, want := l.sample()
		cfg, from := defaultConfig(), newOrigins("config.yaml")
		if all := overlay(&cfg, from, configVariables([]string{"PATH=/bin", l.variable() + "=" + text})); len(all) > 0 {
			t.Errorf("%v", all)
			continue
		}
		if diff := cmp.Diff(want, l.in(reflect.ValueOf(cfg)).Interface()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", l.variable(), diff)
		}
		if at := from.find(l.path).String(); at != l.variable() {
			t.Errorf("%s comes from %s", l.path, at)
		}
		// And nothing else: without it, what it was set in is as it was.
		l.in(reflect.ValueOf(&cfg).Elem()).SetZero()
		was := withFirst(defaultConfig(), l)
		if diff := cmp.Diff(was, cfg, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s set something else, too (-want +got):\n%s", l.variable(), diff)
		}
	}
	if len(names) < 30 {
		t.Errorf("%d keys are too few to be all", len(names))
	}
}

// withFirst is c with the first entry of the list that l is in, and without l.
func withFirst(c Config, l leaf) Config {
	list, _, listed := strings.Cut(l.path, "[0]")
	if listed {
		v := leaf{path: list}.in(reflect.ValueOf(&c).Elem())
		v.Set(reflect.Append(v, newElement(v.Type().Elem())))
	}
	if around, _, ok := strings.Cut(l.path, ".history"); ok {
		v := leaf{path: around + ".history"}.in(reflect.ValueOf(&c).Elem())
		v.Set(reflect.New(v.Type().Elem()))
	}
	l.in(reflect.ValueOf(&c).Elem()).SetZero()
	return c
}

// badValues has for every key of text a value that is refused, and what is
// said of it after the variable's name.
var badValues = map[string]struct{ value, reason string }{
	"listen":                          {"here", `"here" is not an address`},
	"admin_listen":                    {":x", `"x" is not a port`},
	"allowed_origins":                 {"https://a.example,*", `"*": there are no wildcards here`},
	"trusted_proxies":                 {"10.0.0.1,proxy", `"proxy" is not an address or a network`},
	"redis.url":                       {"http://u:hunter2@redis", `has an unknown scheme "http"`},
	"redis.prefix":                    {"a b", `"a b" is not a prefix`},
	"redis.recorder":                  {"yes", "must be true or false"},
	"auth.cookie":                     {"session", "needs allowed_origins"},
	"auth.issuers[0].issuer":          {"https://issuer.example", "auth.issuers[0].secret: no key"},
	"auth.issuers[0].audience":        {"hub", "auth.issuers[0].secret: no key"},
	"auth.issuers[0].algorithm":       {"none", `unknown algorithm "none"`},
	"auth.issuers[0].secret":          {"hunter2", "7 bytes are too few"},
	"auth.issuers[0].secret_file":     {"/absent", "open /absent: no such file"},
	"auth.issuers[0].public_key_file": {"/absent", "HS256 takes its key from secret or secret_file"},
	"auth.issuers[0].jwks_url":        {"http://u:hunter2@issuer.example", "HS256 takes its key from secret or secret_file"},
	"auth.issuers[0].user_claim":      {"a..b", "a claim's name has text on both sides of each dot"},
	"channels[0].name":                {"user:{sub", "a brace is opened and not closed"},
	"channels[0].join":                {"always", `"always" is neither auto nor on-request`},
	"channels[0].publish":             {"yes", "must be true or false"},
	"channels[0].presence":            {"", "must be true or false"},
	"channels[0].if":                  {"claims.", "column 8: Syntax error"},
	"publishers[0].name":              {"billing", "publishers[0].key: is missing"},
	"publishers[0].key":               {"hunter2", "is too short"},
	"publishers[0].key_file":          {"/absent", "cannot be read: no such file"},
	"publishers[0].channels":          {"a,b*", `"b*" is not a channel`},
	"tls.cert_file":                   {"/absent", "cannot be read: no such file"},
	"tls.key_file":                    {"/absent", "cannot be read: no such file"},
	"log.level":                       {"loud", `"loud" is not a level`},
	"log.format":                      {"xml", `"xml" is not a format`},
}

// bad is a value that is refused, and what is said of it.
func (l leaf) bad() (value, reason string) {
	if bad, ok := badValues[l.path]; ok {
		return bad.value, bad.reason
	}
	switch l.kind {
	case reflect.TypeFor[time.Duration]():
		return "30", `"30" is not a duration: write a number with its unit, such as 30s, 5m or 72h`
	case reflect.TypeFor[Size]():
		return "64KB", `"64KB" is not a size: write a whole number of bytes, KiB or MiB, such as 64KiB`
	default:
		return "many", `"many" is not a whole number`
	}
}

func TestEnvironmentIsNamedForEveryBadValue(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, l := range configLeaves() {
		value, reason := l.bad()
		_, err := loadChecked("", []string{l.variable() + "=" + value})
		if err == nil {
			t.Errorf("%s=%s is not refused", l.variable(), value)
			continue
		}
		told := false
		for line := range strings.SplitSeq(err.Error(), "\n") {
			rest, ours := strings.CutPrefix(line, l.variable()+": ")
			told = told || ours && strings.Contains(rest, reason)
			if strings.Contains(line, "hunter2") {
				t.Errorf("a secret is told: %s", line)
			}
		}
		if !told {
			t.Errorf("%s=%s: want %s, got:\n%v", l.variable(), value, reason, err)
		}
	}
}

func TestEnvironmentFaults(t *testing.T) {
	const (
		unknown = ": " + unknownVariable
		whole   = ": " + notAsAWhole
	)
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string
	}{
		"none": {environ: []string{goodIssuer}},
		"not ours": {environ: []string{
			goodIssuer, "aldaba_listen=x", "ALDABA=x", "XALDABA_LISTEN=x", "",
			"ALDABA_SERVICE_HOST=10.0.0.1", "ALDABA_PORT=tcp://10.0.0.1:80", "ALDABA_PORT_80_TCP_ADDR=10.0.0.1", "ALDABA_REDIS_SERVICE_PORT_REDIS=1",
		}},
		"unknown": {
			environ: []string{goodIssuer, "ALDABA_=x", "ALDABA_LISTN=x", "ALDABA_LISTEN_=x", "ALDABA_LISTEN_X=x", "ALDABA_TRUSTED_PROXIES_0_=x", "ALDABA_listen=x", "ALDABA_REDIS_URL_X=x", "ALDABA_LIMITS_MESSAGES=1"},
			want: []string{
				"ALDABA_" + unknown, "ALDABA_LIMITS_MESSAGES" + unknown, "ALDABA_LISTEN_" + unknown, "ALDABA_LISTEN_X" + unknown, "ALDABA_LISTN" + unknown,
				"ALDABA_REDIS_URL_X" + unknown, "ALDABA_TRUSTED_PROXIES_0_" + unknown, "ALDABA_listen" + unknown,
			},
		},
		"unknown, and nothing is made of it": {
			environ: []string{goodIssuer, "ALDABA_CHANNELS_0_NAMES=x", "ALDABA_AUTH_ISSUERS_1_SECRT=x", "ALDABA_PUBLISHERS_0=x"},
			want:    []string{"ALDABA_AUTH_ISSUERS_1_SECRT" + unknown, "ALDABA_CHANNELS_0_NAMES" + unknown, "ALDABA_PUBLISHERS_0" + whole},
		},
		"unknown, of what the file has": {
			file:    "channels: [{name: a}]",
			environ: []string{goodIssuer, "ALDABA_CHANNELS_0_HISTORY_SIZES=1", "ALDABA_CHANNELS_0_HISTORY=1"},
			want:    []string{"ALDABA_CHANNELS_0_HISTORY" + whole, "ALDABA_CHANNELS_0_HISTORY_SIZES" + unknown},
		},
		"as a whole": {
			environ: []string{goodIssuer, "ALDABA_REDIS=redis://u:hunter2@x", "ALDABA_AUTH_ISSUERS=[]", "ALDABA_LIMITS="},
			want:    []string{"ALDABA_AUTH_ISSUERS" + whole, "ALDABA_LIMITS" + whole, "ALDABA_REDIS" + whole},
		},
		"beyond the list": {
			environ: []string{goodIssuer, "ALDABA_AUTH_ISSUERS_2_SECRET=x", "ALDABA_CHANNELS_1_NAME=x", "ALDABA_ALLOWED_ORIGINS_7=x"},
			want: []string{
				"ALDABA_ALLOWED_ORIGINS_7: there is no entry 7: the next one is 0",
				"ALDABA_AUTH_ISSUERS_2_SECRET: there is no entry 2: the next one is 1",
				"ALDABA_CHANNELS_1_NAME: there is no entry 1: the next one is 0",
			},
		},
		"no number": {
			environ: []string{goodIssuer, "ALDABA_CHANNELS_A_NAME=x", "ALDABA_CHANNELS_-1_NAME=x", "ALDABA_CHANNELS_00_NAME=x", "ALDABA_CHANNELS_+0_NAME=x", "ALDABA_CHANNELS__NAME=x"},
			want: []string{
				"ALDABA_CHANNELS_+0_NAME" + unknown, "ALDABA_CHANNELS_-1_NAME" + unknown, "ALDABA_CHANNELS_00_NAME" + unknown,
				"ALDABA_CHANNELS_A_NAME" + unknown, "ALDABA_CHANNELS__NAME" + unknown,
			},
		},
		"with those of the file": {
			file:    "listen: x\nlog: {level: loud}\nlistne: y\n",
			environ: []string{goodIssuer, "ALDABA_LOG_LEVEL=louder", "ALDABA_LISTNE=z"},
			want: []string{
				`config.yaml:1: listen: "x" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
				`config.yaml:3: listne: unknown key: did you mean "listen"?`,
				"ALDABA_LISTNE" + unknown,
				`ALDABA_LOG_LEVEL: "louder" is not a level: choose debug, info, warn or error`,
			},
		},
		"with a file that is none": {
			file:    "auth: {",
			environ: []string{"ALDABA_LISTEN=x", "ALDABA_LISTNE=z"},
			want: []string{
				"config.yaml:1: not YAML: could not find flow mapping end token '}'",
				`ALDABA_LISTEN: "x" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every interface`,
				"ALDABA_LISTNE" + unknown,
			},
		},
		"in place of the file's": {
			file:    "listen: x\nallowed_origins: [\"*\"]\nlimits: {message: 0}\nauth: {issuers: [{secret: short}]}\nchannels: [{name: \"{\"}]",
			environ: []string{goodIssuer, "ALDABA_LISTEN=:80", "ALDABA_ALLOWED_ORIGINS=https://a.example", "ALDABA_LIMITS_MESSAGE=1KiB", "ALDABA_CHANNELS_0_NAME=a"},
		},
		"beside a form that nobody can read": {
			file:    "limits: {message: a lot}",
			environ: []string{goodIssuer, "ALDABA_LIMITS_MESSAGE=1KiB"},
			want:    []string{`config.yaml:1: limits.message: "a lot" is not a size: write a whole number of bytes, KiB or MiB, such as 64KiB`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeFile(t, "config.yaml", c.file)
			if diff := cmp.Diff(c.want, faultLines(t, c.environ)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvironmentLists(t *testing.T) {
	var environ []string
	for i := range 12 { // 10 comes after 9
		environ = append(environ, fmt.Sprintf("ALDABA_CHANNELS_%d_NAME=room:%d", 11-i, 11-i))
	}
	environ = append(environ, "ALDABA_ALLOWED_ORIGINS_2=https://c.example", "ALDABA_ALLOWED_ORIGINS= https://a.example , https://b.example,",
		"ALDABA_TRUSTED_PROXIES_0=10.0.0.1", "ALDABA_LISTEN=:1", "ALDABA_LISTEN=:2", goodIssuer+"=x")
	t.Chdir(t.TempDir())
	writeFile(t, "config.yaml", "trusted_proxies: [10.0.0.8, 10.0.0.9]\nallowed_origins: [https://z.example]\n")
	c, err := loadChecked("config.yaml", environ)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if diff := cmp.Diff([]string{"https://a.example", "https://b.example", "https://c.example"}, c.AllowedOrigins); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.9"}, c.TrustedProxies); diff != "" {
		t.Error(diff)
	}
	for i, p := range c.Channels {
		if want := fmt.Sprintf("room:%d", i); p.Name != want {
			t.Errorf("channel %d is %s", i, p.Name)
		}
	}
	if c.Listen != ":2" {
		t.Errorf("of two variables of a name, the last one counts: %s", c.Listen)
	}
	if want := "another-secret-of-more-than-32-bytes=x"; c.Auth.Issuers[0].Secret != want || c.Auth.Issuers[0].Algorithm != "HS256" {
		t.Error("the issuer that a variable makes has no secret, or not the defaults")
	}
}
