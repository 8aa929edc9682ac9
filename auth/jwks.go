package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// How a key set is fetched.
const (
	fetchTimeout = 5 * time.Second
	fetchEvery   = time.Hour
	askEvery     = 10 * time.Second // for a kid that is not in the set
	firstRetry   = time.Second      // doubled after each failure,
	lastRetry    = 30 * time.Second // up to this
	maxKeySet    = 1 << 20          // bytes
)

var errStopped = errors.New("the verifier has ended")

// keySet is the key source of an issuer that publishes its keys (RFC 7517). One
// goroutine, run, fetches them; tokens only ever wait for it.
//
// The set that was had last stays in use while newer ones cannot be had.
type keySet struct {
	url       string
	shown     string // in logs and errors: the URL as far as its path; the rest may hold a key
	algorithm string
	client    *http.Client
	asks      *rate.Limiter // how often a token may cause a fetch
	wake      chan struct{} // buffered: a fetch is asked for
	stopped   chan struct{} // closed when run returns

	mu    sync.Mutex
	round chan struct{} // closed at the end of the fetch asked for or under way; nil if there is none
	ring  *keyRing      // nil until the first was had
	err   error         // why the last fetch failed
}

// newKeySet returns a key set that waits for run to be called.
func newKeySet(address, algorithm string, transport http.RoundTripper) (*keySet, error) {
	if err := checkKeySetURL(address); err != nil {
		return nil, err
	}
	shown := address
	if end := strings.IndexAny(address, "?#"); end >= 0 {
		shown = address[:end]
	}
	return &keySet{
		url:       address,
		shown:     shown,
		algorithm: algorithm,
		client: &http.Client{
			Transport: transport,
			Timeout:   fetchTimeout,
			// What answers elsewhere is not who the operator named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		asks:    rate.NewLimiter(rate.Every(askEvery), 1),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		// Tokens that come before the first fetch has ended wait for it.
		round: make(chan struct{}),
	}, nil
}

// checkKeySetURL refuses addresses from which an attacker on the way could serve
// keys of their own.
func checkKeySetURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("not an absolute URL such as https://issuer.example/.well-known/jwks.json")
	case u.User != nil:
		return errors.New("a URL with a password ends up in logs")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not safe for keys: https, or http to this machine only", u.Scheme)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newTransport returns what key sets are fetched through: no connection is kept
// for an hour, and headers are bounded like the body.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    fetchTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// key returns the key that token names. For one that is not in the set it asks
// for a fetch, at most every askEvery, and waits for its end.
func (s *keySet) key(ctx context.Context, token *jwt.Token) (any, error) {
	ring, _ := s.state()
	key, err := ring.key(ctx, token)
	if !errors.Is(err, errUnknownKey) {
		return key, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	ring, failure := s.state()
	key, err = ring.key(ctx, token)
	if errors.Is(err, errUnknownKey) && failure != nil {
		// The key may well be new: nobody could be asked.
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, failure)
	}
	return key, err
}

// refresh returns at the end of the fetch under way, or of a new one if the
// last was asked for long enough ago, or at once. It returns an error if it
// could not wait for the end.
func (s *keySet) refresh(ctx context.Context) error {
	round := s.ask()
	if round == nil {
		return nil
	}
	select {
	case <-round:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopped:
		return errStopped
	}
}

func (s *keySet) ask() (round chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round == nil && s.asks.Allow() {
		s.round = make(chan struct{})
		s.wake <- struct{}{}
	}
	return s.round
}

func (s *keySet) state() (*keyRing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring, s.err
}

// run fetches the set until ctx is done: at once, then every hour, after a
// failure sooner, and whenever asked.
func (s *keySet) run(ctx context.Context) {
	defer close(s.stopped)
	retry := firstRetry
	for {
		s.begin()
		ring, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.settle(ctx, ring, err)
		wait := fetchEvery
		if err != nil {
			wait = retry/2 + rand.N(retry/2) //nolint:gosec // jitter hides nothing
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// begin opens a round, unless whoever asked has done so.
func (s *keySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round == nil {
		s.round = make(chan struct{})
	}
	// The fetch that begins now answers whoever has asked until now.
	select {
	case <-s.wake:
	default:
	}
}

// settle ends the round. It logs when fetching begins to fail and when it works
// again, not each attempt.
func (s *keySet) settle(ctx context.Context, ring *keyRing, err error) {
	s.mu.Lock()
	before := s.err
	s.err = err
	if err == nil {
		s.ring = ring
	}
	close(s.round)
	s.round = nil
	s.mu.Unlock()

	switch {
	case err != nil && before == nil:
		slog.WarnContext(ctx, "signing keys cannot be had", "url", s.shown, "error", err)
	case err == nil && before != nil:
		slog.InfoContext(ctx, "signing keys can be had again", "url", s.shown, "keys", ring.size)
	}
}

func (s *keySet) fetch(ctx context.Context) (*keyRing, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		if whole, ok := errors.AsType[*url.Error](err); ok { // it names the query, too
			err = fmt.Errorf("%s: %w", s.shown, whole.Err)
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", s.shown, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.shown, err)
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("%s answers more than %d bytes", s.shown, maxKeySet)
	}
	return newKeyRing(ctx, body, s.algorithm)
}
