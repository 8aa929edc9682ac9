package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// lateExp is a good `exp` that is the same text in every run: a fuzzer's corpus
// outlives the hour that other tests' tokens live.
const lateExp = `"exp":4102444800` // 2100

// wireToken is what a token consists of (RFC 7515 section 3.1): none of it means
// anything to a header, a list of subprotocols or a cookie.
var wireToken = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// upgrade returns a request with this query, and with one header of each kind
// for every line: no header has a line feed in it.
func upgrade(query, authorization, subprotocols, cookies string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
	r.URL.RawQuery = query
	for name, text := range map[string]string{"Authorization": authorization, "Sec-Websocket-Protocol": subprotocols, "Cookie": cookies} {
		if text != "" {
			r.Header[name] = strings.Split(text, "\n")
		}
	}
	return r
}

func FuzzFromRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"", "", "", ""},
		{"resume", "Bearer a.b.c", "", ""},
		{"", "bEARER   a.b.c ", "aldaba.v1, bearer.x", "session=y"},
		{"", "Basic dXNlcjpwYXNz", "bearer.a.b.c,aldaba.v1,  chat", ""},
		{"", "", "aldaba.v1\nbearer.a.b.c", ""},
		{"", "", "aldaba.v1, bearer.a, bearer.b", ""},
		{"ticket=abc", "", "aldaba.v1", "a=b; session=a.b.c"},
		{"", "Bearer a\nBearer a", "", ""},
		{"", "", "bearer.a.b.c", "session=y"},
		{"", "", "aldaba.v1", "session=a; session=b"},
		{"", "Bearer\u00a0a", "aldaba.v1,\u00a0bearer.a", `session="a.b.c"`},
		{"", "Bearer a,b c", "aldaba.v1, bearer.a;b", "session=a b,c"},
		{"a=1;%74oken=a&%zz", "Bearer a.b.c", "", ""},
		{"x=token&+Access_Token", "", "aldaba.v1, bearer.", "session="},
		{strings.Repeat("&", maxHeader+1), "Bearer a.b.c", "", ""},
		{"", "Bearer " + strings.Repeat(".", maxHeader+1), "", ""},
		{"", "", "aldaba.v1, bearer." + strings.Repeat("a", maxHeader), ""},
		{"", "", "", "session=" + strings.Repeat("a", maxHeader)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, query, authorization, subprotocols, cookies string) {
		token, place, err := FromRequest(upgrade(query, authorization, subprotocols, cookies), "session")
		if err != nil {
			if token != "" || place != 0 {
				t.Errorf("%q in place %d together with %v", token, place, err)
			}
			if !errors.Is(err, ErrTokenInURL) && !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrNoToken) {
				t.Errorf("none of the sentinels: %v", err)
			}
		} else {
			if token == "" || len(token) > maxHeader {
				t.Errorf("a token of %d bytes", len(token))
			}
			if want := placed(place, authorization, subprotocols, cookies); token != want {
				t.Errorf("%q from place %d, where %q was put", token, place, want)
			}
			movesAnywhere(t, token)
		}
		neverFromURL(t, err, query, authorization, subprotocols, cookies)
	})
}

// How a token stands in each place, in one entry of it.
var (
	inAuthorization = regexp.MustCompile(`(?is)^bearer (.+)$`)
	inSubprotocol   = regexp.MustCompile(`(?s)^bearer\.(.+)$`)
	// RFC 6265 section 4.1.1, and spaces, which net/http lets pass.
	inCookie = regexp.MustCompile(`^session[ \t\r]*=(?:([^";\\\x00-\x1f\x7f-\x{10ffff}]*)|"([^";\\\x00-\x1f\x7f-\x{10ffff}]*)")$`)
)

// placed returns the one token that was put in place, taken apart in another way
// than FromRequest does, or the empty string if that is not one token.
func placed(place Place, authorization, subprotocols, cookies string) string {
	var tokens []string
	collect := func(form *regexp.Regexp, entries ...string) {
		for _, entry := range entries {
			if found := form.FindStringSubmatch(entry); found != nil {
				tokens = append(tokens, strings.Join(found[1:], ""))
			}
		}
	}
	switch place {
	case PlaceHeader:
		collect(inAuthorization, strings.TrimSpace(authorization))
	case PlaceSubprotocol:
		entries := entriesOf(subprotocols, ',', unicode.IsSpace)
		if slices.Contains(entries, "aldaba.v1") {
			collect(inSubprotocol, entries...)
		}
	case PlaceCookie:
		collect(inCookie, entriesOf(cookies, ';', func(c rune) bool { return strings.ContainsRune(" \t\r", c) })...)
	}
	if len(tokens) != 1 {
		return ""
	}
	if place == PlaceHeader {
		return strings.TrimSpace(tokens[0])
	}
	return tokens[0]
}

// entriesOf splits what stands in several lines, and in each between separators.
func entriesOf(text string, separator rune, space func(rune) bool) []string {
	var entries []string
	for entry := range strings.SplitSeq(strings.ReplaceAll(text, "\n", string(separator)), string(separator)) {
		entries = append(entries, strings.TrimFunc(entry, space))
	}
	return entries
}

// movesAnywhere puts a token alone into each place: it comes out as it is.
func movesAnywhere(t *testing.T, token string) {
	t.Helper()
	if !wireToken.MatchString(token) || len(token) > maxToken {
		return
	}
	for place, r := range map[Place]*http.Request{
		PlaceHeader:      upgrade("", "Bearer "+token, "", ""),
		PlaceSubprotocol: upgrade("", "", "aldaba.v1, bearer."+token, ""),
		PlaceCookie:      upgrade("", "", "", "session="+token),
	} {
		if got, where, err := FromRequest(r, "session"); got != token || where != place || err != nil {
			t.Errorf("%q put in place %d: got %q from %d, %v", token, place, got, where, err)
		}
	}
}

// neverFromURL holds err against the query: one that has a parameter for a token
// is always refused, and with one added every request is.
func neverFromURL(t *testing.T, err error, query, authorization, subprotocols, cookies string) {
	t.Helper()
	parameters, _ := url.ParseQuery(strings.ReplaceAll(query, ";", "&")) // what is malformed is left out
	for name := range parameters {
		if slices.Contains(tokenParameters, strings.ToLower(strings.TrimSpace(name))) && !errors.Is(err, ErrTokenInURL) && len(query) <= maxHeader {
			t.Errorf("query has %q: got %v", name, err)
		}
	}
	for _, added := range []string{"&token=a.b.c", ";Access_Token", "&%6Awt=a.b.c"} {
		token, _, err := FromRequest(upgrade(query+added, authorization, subprotocols, cookies), "session")
		want := ErrTokenInURL
		if len(query+added) > maxHeader {
			want = ErrInvalidToken
		}
		if token != "" || !errors.Is(err, want) {
			t.Errorf("query with %q: got %q, %v", added, token, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	good := raw(goodHeader, `{"sub":"42",`+lateExp+`}`)
	unsigned := good[:strings.LastIndex(good, ".")+1]
	for _, seed := range []string{
		good,
		raw(`{"typ":"at+jwt","alg":"HS256","kid":"1"}`, `{"sub":"a:b*\u0000","jti":"7","aud":["x"],`+lateExp+`}`),
		raw(`{"alg":"none"}`, `{"sub":"42",`+lateExp+`}`),
		raw(goodHeader, `{"sub":"",`+lateExp+`}`),
		raw(goodHeader, `{"sub":"42"}`),
		raw(goodHeader, `{"sub":"42","exp":1}`),
		base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(good, ".")[1] + ".",
		unsigned, unsigned + "AA", unsigned + strings.Repeat("A", 43),
		good + "=", good + "\n", " " + good, good + ".", "." + good, good[:10] + "\r\n" + good[10:],
		good[:len(good)-1] + next(good[len(good)-1]), // the same bytes, if the last bits are not looked at
		strings.NewReplacer("-", "+", "_", "/").Replace(good),
		sealed(strings.Split(good, ".")[0]+"==", strings.Split(good, ".")[1]),
		"", ".", "..", "...", "a.b.c", strings.Repeat(".", maxToken+1), strings.Repeat("a", maxToken) + ".b.c",
		raw(goodHeader, `{"sub":"42",`+lateExp+`,"x":"`+strings.Repeat("x", maxToken)+`"}`),
	} {
		f.Add(seed)
	}
	v := verifier(f, hs256())
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := v.Verify(t.Context(), token)
		judged(t, token, claims, err)
		parts := strings.Split(token, ".")
		if err == nil && (len(parts) != 3 || sealed(parts[0], parts[1]) != token) {
			t.Errorf("accepted, but not what the secret signs: %q", token)
		}
	})
}

// next returns the base64url digit after c, whose lowest bit is another.
func next(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.IndexByte(digits, c)^1:][:1]
}

// FuzzVerifySigned gets past the signature, which FuzzVerify hardly ever does:
// here the holder of the secret signs anything at all.
func FuzzVerifySigned(f *testing.F) {
	for _, payload := range []string{
		`{"sub":"42",` + lateExp + `}`,
		`{"sub":"42",` + lateExp + `,"nbf":1,"iat":1.5,"jti":"a","iss":"b","aud":["c","d"],"rooms":[1,"2"]}`,
		`{"sub":42,` + lateExp + `}`, `{"sub":"42"}`, `{"sub":"42","exp":1}`,
		`{"sub":"a","sub":"b",` + lateExp + `}`,
		`{"Sub":"a","\u0073ub":"b",` + lateExp + `}`,
		`{"sub":"\ud800",` + lateExp + `}`, "{\"sub\":\"\xff\"," + lateExp + "}",
		`{"sub":"42","exp":"4102444800"}`, `{"sub":"42","exp":4102444800000}`, `{"sub":"42","exp":4e9}`, `{"sub":"42","exp":-0}`, `{"sub":"42","exp":1e999}`,
		`{"sub":"42",` + lateExp + `,"nbf":4e9}`, `{"sub":"42",` + lateExp + `,"aud":[1]}`, `{"sub":"42",` + lateExp + `,"jti":7}`,
		`{"sub":"` + strings.Repeat("x", 256) + `",` + lateExp + `}`, `{"sub":"42",` + lateExp + `,"jti":"` + strings.Repeat("x", 256) + `"}`,
		`{"sub":"42",` + lateExp + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		`{"sub":"42",` + lateExp + `}{}`, `[]`, `null`, ``, `{"exp":`,
	} {
		f.Add(goodHeader, payload)
	}
	for _, header := range []string{
		`{"alg":"HS256"}`, `{"alg":"none"}`, `{"alg":"HS384"}`, `{"alg":"RS256","jku":"https://example.com"}`, `{"alg":"HS256","alg":"none"}`, `{"ALG":"HS256"}`,
		`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"alg":"HS256","typ":"logout+jwt"}`, `{"alg":"HS256","kid":7}`, `{"alg":"HS256","kid":""}`, `{}`, `[]`, ``,
	} {
		f.Add(header, `{"sub":"42",`+lateExp+`}`)
	}
	v := verifier(f, hs256())
	f.Fuzz(func(t *testing.T, header, payload string) {
		token := raw(header, payload)
		claims, err := v.Verify(t.Context(), token)
		judged(t, token, claims, err)
		if errors.Is(err, ErrInvalidToken) {
			return
		}
		// What another reader would take it for: into a map, because to the fields
		// of a struct encoding/json gives members in any case.
		var h, p map[string]any
		if json.Unmarshal([]byte(header), &h) != nil || json.Unmarshal([]byte(payload), &p) != nil {
			t.Fatalf("good, but not JSON: %s.%s", header, payload)
		}
		exp, hasExp := p["exp"].(float64)
		if h["alg"] != "HS256" || h["crit"] != nil || !hasExp {
			t.Errorf("%s.%s is good: %v", header, payload, err)
		}
		if err == nil && (p["sub"] != claims.User || time.Unix(int64(exp), 0).Sub(claims.ExpiresAt).Abs() > time.Second) {
			t.Errorf("%s is taken for %+v", payload, claims)
		}
	})
}

// judged fails the test unless claims and err are what a caller may rely on.
func judged(t *testing.T, token string, claims *Claims, err error) {
	t.Helper()
	if err == nil {
		if claims.User == "" || len(claims.User) > maxName || !utf8.ValidString(claims.User) {
			t.Errorf("user %q", claims.User)
		}
		if !claims.ExpiresAt.After(time.Now()) || claims.ExpiresAt.After(endOfTime) {
			t.Errorf("expires at %v", claims.ExpiresAt)
		}
		if len(token) > maxToken || len(claims.ID) > maxName {
			t.Errorf("%d bytes of token, %d of jti", len(token), len(claims.ID))
		}
		return
	}
	if claims != nil {
		t.Errorf("claims together with an error: %+v", claims)
	}
	if !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrExpiredToken) {
		t.Errorf("neither invalid nor expired: %v", err)
	}
	if signature := token[strings.LastIndex(token, ".")+1:]; len(signature) >= 43 && strings.Contains(err.Error(), signature) {
		t.Errorf("the signature is in the error: %v", err)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// hostile are values of claims that would rather be something else.
var hostile = []any{
	"*", "user:42", "aldaba", "aldaba:control", ":", "{sub}", "a\x00\nb", "%3A", "ɐ", "[u]?", strings.Repeat(":", 255), json.Number("-7"),
}

// modelPatternName is the grammar of a pattern's name, as Pattern documents it.
var modelPatternName = func() *regexp.Regexp {
	const text, step = `[A-Za-z0-9_.@#/|+=~%-]`, `[^{}*.\p{Z}\p{Cc}]+`
	const segment = `(?:\*|` + text + `+|` + text + `*\{` + step + `(?:\.` + step + `)*\}` + text + `*)`
	return regexp.MustCompile(`^` + segment + `(?::` + segment + `)*$`)
}()

var modelPlaceholder = regexp.MustCompile(`\{([^{}]*)\}`)

func modelValidPattern(name, join string) bool {
	wide := slices.Contains(strings.Split(modelPlaceholder.ReplaceAllString(name, "x"), ":"), "*")
	return modelPatternName.MatchString(name) && !strings.HasPrefix(name, "aldaba:") &&
		len(modelPlaceholder.ReplaceAllString(name, "x")) <= 255 &&
		(join == "" || join == "auto" && !wide || join == "on-request")
}

func FuzzNewPolicy(f *testing.F) {
	for _, seed := range [][2]string{
		{"broadcast", ""},
		{"user:{sub}", "auto"},
		{"u-{sub}.in:{rooms}", "on-request"},
		{"{sub}:control", ""},
		{"aldaba{sub}", ""},
		{"room:{https://example.com/rooms}:{org.id}", ""},
		{"{a}:{a}:{b}:{c}:{d}", ""},
		{"room:*", ""},
		{"*:{sub}", "auto"},
		{"aldaba:*", "on-request"},
		{"room:{a}{b}", ""},
		{"0{*}", ""},
		{"user:{sub", ""},
		{"user:sub}:{", ""},
		{"a::b", "Auto"},
		{"{a..b}:{ }", ""},
		{"añ:\x00", ""},
		{"{\xff}:{ñ}", ""},
		{strings.Repeat("x", 254) + "{a}", ""},
		{strings.Repeat("{a}:", 128) + "x", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, join string) {
		p, err := NewPolicy([]Pattern{{Name: name, Join: join}})
		if (err == nil) != modelValidPattern(name, join) {
			t.Fatalf("pattern %q, join %q: %v", name, join, err)
		}
		if err != nil {
			for _, path := range faultPaths(t, err) {
				if path != "[0].name" && path != "[0].join" {
					t.Errorf("pattern %q, join %q: a fault at %q", name, join, path)
				}
			}
			return
		}
		for _, value := range append(slices.Clone(hostile), hostile, "", "\xff", true) {
			yieldsChannelsOnly(t, p, name, value)
		}
	})
}

// yieldsChannelsOnly fills every placeholder of the pattern in with value: what
// comes out is joined or granted only if it is a channel.
func yieldsChannelsOnly(t *testing.T, p *Policy, name string, value any) {
	t.Helper()
	values := map[string]any{}
	for _, found := range modelPlaceholder.FindAllStringSubmatch(name, -1) {
		values[found[1]] = value // dots and all: such a claim comes first
	}
	claims := &Claims{Values: values}
	grants := p.Grants(claims)
	for i, grant := range grants.Auto() {
		if !modelName.MatchString(grant.Channel) || strings.HasPrefix(grant.Channel, "aldaba:") || grant.Pattern != name {
			t.Fatalf("pattern %q with %q yields %+v", name, value, grant)
		}
		if got, ok := grants.Lookup(grant.Channel); !ok || got != grant {
			t.Fatalf("pattern %q with %q: %+v is joined, %+v looked up", name, value, grant, got)
		}
		if i < 20 && !p.Explain(claims, grant.Channel, Receive).Allowed { // slow, and the 21st is like the 20th
			t.Fatalf("pattern %q with %q: %+v is joined and explained away", name, value, grant)
		}
	}
	if text, single := value.(string); single {
		yieldsEncodedOnly(t, grants, name, text)
	}
}

// yieldsEncodedOnly asks for the channels that name becomes with the value as it
// is and encoded, and with any text for each `*`.
func yieldsEncodedOnly(t *testing.T, grants *Grants, name, value string) {
	t.Helper()
	fill := func(value string) string {
		return strings.ReplaceAll(modelPlaceholder.ReplaceAllLiteralString(name, value), "*", "any")
	}
	encoded := fill(modelEncode(value))
	want := modelName.MatchString(encoded) && !strings.HasPrefix(encoded, "aldaba:") &&
		(len(modelValues(value)) == 1 || !modelPlaceholder.MatchString(name))
	if _, got := grants.Lookup(encoded); got != want {
		t.Errorf("pattern %q with %q: lookup of %q is %v", name, value, encoded, got)
	}
	if _, got := grants.Lookup(fill(value)); got && fill(value) != encoded {
		t.Errorf("pattern %q with %q: %q is granted", name, value, fill(value))
	}
}

func FuzzLookup(f *testing.F) {
	for _, seed := range [][3]string{
		{"user:42", "42", "43"},
		{"user:*", "*", "42"},
		{"user:a%3Ab", "a:b", "a%3Ab"},
		{"user:a%3ab", "a:b", "a"},
		{"user:a:b", "a:b", "a"},
		{"user:%2A", "%2A", "*"},
		{"room:1:in:x", "1", "x"},
		{"room:", "a", "b"},
		{"room:1", "1:in", "1"},
		{"room:1:2", "1", "2"},
		{"room:*", "a", "b"},
		{"org:4:x", "4", "4:x"},
		{"aldaba:x", "aldaba", "x"},
		{"aldaba:control", "aldaba:control", "a"},
		{"user:é", "é", "e\u0301"},
		{"user:\xff", "\xff", "\xfe"},
		{"user:\u202e", "\u202e", ""},
		{"user:" + strings.Repeat("x", 250), strings.Repeat("x", 250), strings.Repeat("x", 251)},
		{"user:", strings.Repeat("*", 83), strings.Repeat("*", 84)},
		{"", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	patterns := []Pattern{
		{Name: "user:{sub}", Publish: true},
		{Name: "room:*", Presence: true},
		{Name: "org:{sub}:*"},
		{Name: "{sub}:x", Join: JoinOnRequest},
		{Name: "room:{sub}", Publish: true},
		{Name: "u-{sub}.in", Presence: true},
		{Name: "broadcast"},
	}
	p := policy(f, patterns...)
	f.Fuzz(func(t *testing.T, channel, sub, other string) {
		me, them := &Claims{Values: map[string]any{"sub": sub}}, &Claims{Values: map[string]any{"sub": other}}
		mine, theirs := p.Grants(me), p.Grants(them)
		for _, channel := range []string{
			channel, "user:" + sub, "user:" + other, "user:" + channel, "user:" + url.PathEscape(sub), "user:" + modelEncode(sub), "user:" + modelEncode(other),
			"room:" + channel, "room:" + sub, "org:" + modelEncode(sub) + ":" + channel, modelEncode(sub) + ":x", "u-" + modelEncode(sub) + ".in", "u-" + modelEncode(sub), sub + ":x",
		} {
			got, ok := mine.Lookup(channel)
			if want := modelLookup(patterns, channel, sub); got != want || ok != (want.Channel != "") {
				t.Errorf("%q for %q: got %+v, %v; want %+v", channel, sub, got, ok, want)
			}
			if explained := p.Explain(me, channel, Receive); explained.Allowed != ok {
				t.Errorf("%q for %q: lookup is %v, explained is %+v", channel, sub, ok, explained)
			}
			if _, shared := theirs.Lookup(channel); ok && shared && sub != other && strings.HasPrefix(channel, "user:") {
				t.Errorf("%q and %q share %q", sub, other, channel)
			}
			if back, err := url.PathUnescape(strings.TrimPrefix(channel, "user:")); ok && strings.HasPrefix(channel, "user:") && (err != nil || back != sub) {
				t.Errorf("%q is given to %q", channel, sub)
			}
		}
	})
}

// modelLookup writes the patterns out for sub, and compares.
func modelLookup(patterns []Pattern, channel, sub string) (grant Grant) {
	for _, p := range patterns {
		name := strings.ReplaceAll(p.Name, "{sub}", modelEncode(sub))
		if name != p.Name && (sub == "" || !utf8.ValidString(sub)) || !modelMatches(name, channel) {
			continue
		}
		if grant.Channel == "" {
			grant.Channel, grant.Pattern = channel, p.Name
		}
		grant.Publish, grant.Presence = grant.Publish || p.Publish, grant.Presence || p.Presence
	}
	return grant
}
