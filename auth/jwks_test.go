package auth

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
)

// jwk returns the JSON of a key as an issuer publishes it, changed by changes.
func jwk(t testing.TB, key crypto.PublicKey, kid string, changes map[string]any) []byte {
	t.Helper()
	made, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(must(json.Marshal(made.Marshal())), &members); err != nil {
		t.Fatal(err)
	}
	maps.Copy(members, changes)
	return must(json.Marshal(members))
}

func setOf(keys ...[]byte) []byte {
	return fmt.Appendf(nil, `{"keys":[%s]}`, bytes.Join(keys, []byte(",")))
}

// keyServer is an issuer's server. What it answers can be changed while it runs.
type keyServer struct {
	*httptest.Server
	requests atomic.Int64
	answer   atomic.Pointer[http.HandlerFunc]
}

func (s *keyServer) serve(answer http.HandlerFunc) { s.answer.Store(&answer) }

func (s *keyServer) serveSet(set []byte) {
	s.serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
}

func newKeyServer(t testing.TB) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func serveKeys(t testing.TB, keys ...[]byte) *keyServer {
	t.Helper()
	s := newKeyServer(t)
	s.serveSet(setOf(keys...))
	return s
}

func kid(id string) map[string]any { return map[string]any{"kid": id} }

func TestJWKSEveryKindOfKey(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{
		"RS256": rsaKey(), "PS512": rsaKey(), "ES256": p256Key(), "ES384": p384Key(), "ES512": p521Key(), "EdDSA": ed25519Key(),
	} {
		server := serveKeys(t, jwk(t, otherRSA().Public(), "other", nil), jwk(t, key.Public(), "k1", map[string]any{"use": "sig", "alg": algorithm}))
		v := verifier(t, Issuer{Algorithm: algorithm, JWKSURL: server.URL})
		accepted(t, v, signedBy(t, algorithm, key, kid("k1"), payload()))
		if n := server.requests.Load(); n != 1 {
			t.Errorf("%s: %d requests", algorithm, n)
		}
	}
}

func TestJWKSKeysThatMustNotBeUsed(t *testing.T) {
	oct := must(json.Marshal(map[string]any{"kty": "oct", "kid": "k1", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}))
	for name, key := range map[string][]byte{
		"for another algorithm": jwk(t, rsaKey().Public(), "k1", map[string]any{"alg": "PS256"}),
		"for encryption":        jwk(t, rsaKey().Public(), "k1", map[string]any{"use": "enc"}),
		"for signing only":      jwk(t, rsaKey().Public(), "k1", map[string]any{"key_ops": []string{"sign"}}),
		"private":               jwk(t, rsaKey().Public(), "k1", map[string]any{"d": "AQAB"}),
		"too weak":              jwk(t, weakRSA().Public(), "k1", nil),
		"with exponent one":     jwk(t, rsaKey().Public(), "k1", map[string]any{"e": "AQ"}),
		"of another kind":       jwk(t, p256Key().Public(), "k1", nil),
		"broken":                jwk(t, rsaKey().Public(), "k1", map[string]any{"n": 7}),
		"with a long kid":       jwk(t, rsaKey().Public(), strings.Repeat("k", 257), nil),
		"symmetric":             oct,
		"not an object":         []byte(`"k1"`),
	} {
		t.Run(name, func(t *testing.T) {
			server := serveKeys(t, key, jwk(t, rsaKey().Public(), "good", map[string]any{"key_ops": []string{"verify"}}))
			v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: server.URL})
			accepted(t, v, signedBy(t, "RS256", rsaKey(), kid("good"), payload()))
			refused(t, v, signedBy(t, "RS256", rsaKey(), kid("k1"), payload()), ErrInvalidToken)
			refused(t, v, signedBy(t, "HS256", make([]byte, 32), kid("k1"), payload()), ErrInvalidToken)
		})
	}
}

func TestJWKSNeverFollowsAKeysCertificateURL(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	server := serveKeys(t, jwk(t, rsaKey().Public(), "k1", map[string]any{"x5u": other.URL, "x5c": []string{"AAAA"}, "x5t": "AAAA"}))
	v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: server.URL})
	accepted(t, v, signedBy(t, "RS256", rsaKey(), kid("k1"), payload()))
	if asked.Load() > 0 {
		t.Error("x5u was followed")
	}
}

func TestJWKSTokenWithoutKeyID(t *testing.T) {
	one := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil), jwk(t, p256Key().Public(), "k2", nil))
	v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: one.URL})
	accepted(t, v, signedBy(t, "RS256", rsaKey(), nil, payload()))
	refused(t, v, signedBy(t, "RS256", otherRSA(), nil, payload()), ErrInvalidToken)

	two := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil), jwk(t, otherRSA().Public(), "k2", nil))
	v = verifier(t, Issuer{Algorithm: "RS256", JWKSURL: two.URL})
	refused(t, v, signedBy(t, "RS256", rsaKey(), nil, payload()), ErrInvalidToken)
	refused(t, v, signedBy(t, "RS256", rsaKey(), kid("k2"), payload()), ErrInvalidToken)
}

func TestJWKSAnswersThatAreNone(t *testing.T) {
	good := setOf(jwk(t, rsaKey().Public(), "k1", nil))
	elsewhere := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil))
	for name, answer := range map[string]http.HandlerFunc{
		"huge":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(good, make([]byte, maxKeySet)...)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, string(good), http.StatusInternalServerError)
		},
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"no keys":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9999")
			_, _ = w.Write(good)
		},
		"hung up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"headers":    func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"keys: null": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":null}`) },
	} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(t)
			server.serve(answer)
			v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: server.URL})
			refused(t, v, signedBy(t, "RS256", rsaKey(), kid("k1"), payload()), ErrKeysUnavailable)
		})
	}
	if n := elsewhere.requests.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestJWKSOfTooManyKeys(t *testing.T) {
	var keys [][]byte
	for i := range maxKeys + 1 {
		keys = append(keys, jwk(t, p256Key().Public(), fmt.Sprintf("k%d", i), nil))
	}
	server := serveKeys(t, keys...)
	v := verifier(t, Issuer{Algorithm: "ES256", JWKSURL: server.URL})
	accepted(t, v, signedBy(t, "ES256", p256Key(), kid("k99"), payload()))
	refused(t, v, signedBy(t, "ES256", p256Key(), kid("k100"), payload()), ErrInvalidToken)
}

func TestJWKSRotation(t *testing.T) {
	server := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil))
	v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: server.URL})
	old, fresh := signedBy(t, "RS256", rsaKey(), kid("k1"), payload()), signedBy(t, "RS256", otherRSA(), kid("k2"), payload())
	accepted(t, v, old)
	server.serveSet(setOf(jwk(t, otherRSA().Public(), "k2", nil)))
	accepted(t, v, fresh)
	refused(t, v, old, ErrInvalidToken)
}

func TestJWKSFloodOfUnknownKeyIDs(t *testing.T) {
	server := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil))
	v := verifier(t, Issuer{Algorithm: "RS256", JWKSURL: server.URL})
	accepted(t, v, signedBy(t, "RS256", rsaKey(), kid("k1"), payload()))
	var flood sync.WaitGroup
	for worker := range 8 {
		flood.Go(func() {
			for i := range 100 {
				token := raw(fmt.Sprintf(`{"alg":"RS256","kid":"%d-%d"}`, worker, i), goodPayload(""))
				if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	flood.Wait()
	if n := server.requests.Load(); n != 2 {
		t.Errorf("%d requests, want one at start and one for the flood", n)
	}
}

// transport answers for an issuer without a network, so that the clock of a
// synctest bubble can run.
type transport struct {
	mu       sync.Mutex
	requests []time.Time
	answer   func(*http.Request) (*http.Response, error)
}

func (f *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.requests = append(f.requests, time.Now())
	answer := f.answer
	f.mu.Unlock()
	return answer(r)
}

func (f *transport) set(answer func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *transport) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.requests...)
}

func serving(set []byte) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(set))}, nil
	}
}

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hanging(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// inBubble runs test with a verifier whose key set comes from f, on a clock of
// its own. The verifier's goroutines have ended when it returns.
func inBubble(t *testing.T, f *transport, test func(t *testing.T, v *Verifier)) {
	t.Helper()
	rsaKey() // made outside: its time is not the bubble's
	otherRSA()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		v, err := newVerifier(ctx, []Issuer{{Algorithm: "RS256", JWKSURL: "https://issuer.example/jwks"}}, 0, f)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { cancel(); v.Wait() }()
		test(t, v)
	})
}

func TestJWKSDownAtStartThenUp(t *testing.T) {
	f := &transport{answer: down}
	inBubble(t, f, func(t *testing.T, v *Verifier) {
		token := signedBy(t, "RS256", rsaKey(), kid("k1"), payload("exp", in(100*time.Hour)))
		refused(t, v, token, ErrKeysUnavailable)
		for range 1000 {
			refused(t, v, token, ErrKeysUnavailable)
		}
		if n := len(f.times()); n > 2 {
			t.Errorf("%d requests for a flood while down", n)
		}
		advance(10 * time.Minute)
		times := f.times()
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap > lastRetry {
				t.Errorf("waited %v before attempt %d", gap, i)
			}
		}
		if n := len(times); n < 20 || n > 60 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		f.set(serving(setOf(jwk(t, rsaKey().Public(), "k1", nil))))
		advance(lastRetry)
		accepted(t, v, token)
	})
}

func TestJWKSDownLater(t *testing.T) {
	f := &transport{answer: serving(setOf(jwk(t, rsaKey().Public(), "k1", nil)))}
	inBubble(t, f, func(t *testing.T, v *Verifier) {
		token := signedBy(t, "RS256", rsaKey(), kid("k1"), payload("exp", in(100*time.Hour)))
		accepted(t, v, token)
		f.set(down)
		advance(3 * time.Hour)
		accepted(t, v, token)
		// Nobody can be asked whether this key is new.
		fresh := signedBy(t, "RS256", otherRSA(), kid("k2"), payload("exp", in(100*time.Hour)))
		refused(t, v, fresh, ErrKeysUnavailable)
		refused(t, v, signedBy(t, "RS256", otherRSA(), kid("k1"), payload()), ErrInvalidToken)
	})
}

func TestJWKSRefreshesHourly(t *testing.T) {
	f := &transport{answer: serving(setOf(jwk(t, rsaKey().Public(), "k1", nil)))}
	inBubble(t, f, func(t *testing.T, v *Verifier) {
		old := signedBy(t, "RS256", rsaKey(), kid("k1"), payload("exp", in(100*time.Hour)))
		accepted(t, v, old)
		f.set(serving(setOf()))
		advance(fetchEvery + time.Second)
		refused(t, v, old, ErrInvalidToken)
		advance(10*fetchEvery + time.Second)
		if n := len(f.times()); n != 13 { // one each hour, and one for old
			t.Errorf("%d requests", n)
		}
	})
}

func TestJWKSAsksForUnknownKeysEveryTenSeconds(t *testing.T) {
	f := &transport{answer: serving(setOf())}
	inBubble(t, f, func(t *testing.T, v *Verifier) {
		synctest.Wait() // the first fetch
		token := signedBy(t, "RS256", rsaKey(), kid("k1"), payload())
		for range 600 {
			refused(t, v, token, ErrInvalidToken)
			advance(100 * time.Millisecond)
		}
		if n := len(f.times()); n != 7 { // one at start, six in a minute
			t.Errorf("%d requests", n)
		}
	})
}

func TestJWKSSlowServer(t *testing.T) {
	f := &transport{answer: hanging}
	inBubble(t, f, func(t *testing.T, v *Verifier) {
		token := signedBy(t, "RS256", rsaKey(), kid("k1"), payload())
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, token); !errors.Is(err, ErrKeysUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("the caller's deadline was kept after %v", took)
		}
		refused(t, v, token, ErrKeysUnavailable)
		if took := time.Since(start); took != fetchTimeout {
			t.Errorf("a fetch ended after %v", took)
		}
	})
}

func TestJWKSVerifierThatHasEnded(t *testing.T) {
	key := jwk(t, rsaKey().Public(), "k1", nil)
	otherRSA()
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){"while fetching": hanging, "idle": serving(setOf(key))} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				issuer := Issuer{Algorithm: "RS256", JWKSURL: "https://issuer.example/jwks"}
				v := must(newVerifier(ctx, []Issuer{issuer}, 0, &transport{answer: answer}))
				synctest.Wait()
				cancel()
				v.Wait()
				refused(t, v, signedBy(t, "RS256", otherRSA(), kid("k2"), payload()), ErrKeysUnavailable)
			})
		})
	}
}

func TestJWKSFailureIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	f := &transport{answer: down}
	inBubble(t, f, func(t *testing.T, _ *Verifier) {
		advance(time.Hour)
		f.set(serving(setOf()))
		advance(time.Hour)
	})
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, &log)
	}
}

func TestJWKSQueryIsNotShown(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"down":  down,
		"large": serving(bytes.Repeat([]byte(" "), maxKeySet+1)),
		"junk":  serving([]byte("hunter")),
		"500": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusInternalServerError, Body: http.NoBody}, nil
		},
	} {
		s, err := newKeySet("https://issuer.example/keys?key=hunter2#hunter2", "RS256", &transport{answer: answer})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.fetch(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
