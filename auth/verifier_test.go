package auth

import (
	"crypto"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerifyReturnsWhatTheTokenSays(t *testing.T) {
	v := verifier(t, Issuer{Issuer: "https://issuer.example", Audience: "aldaba", Secret: secret, UserClaim: "user.id"})
	issued, expires := in(-time.Minute), in(time.Hour)
	got := accepted(t, v, signed(t, map[string]any{
		"iss": "https://issuer.example", "aud": []string{"other", "aldaba"}, "jti": "t1",
		"iat": issued, "exp": expires, "nbf": issued,
		"user": map[string]any{"id": "ñandú"}, "big": json.Number("12345678901234567890123"),
	}))
	if got.User != "ñandú" || got.ID != "t1" || got.Issuer != "https://issuer.example" ||
		got.IssuedAt.Unix() != issued || got.ExpiresAt.Unix() != expires {
		t.Errorf("got %+v", got)
	}
	if got.Values["big"] != json.Number("12345678901234567890123") {
		t.Errorf("digits were lost: %v", got.Values["big"])
	}
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	for algorithm, kind := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			if kind == "secret" {
				v := verifier(t, Issuer{Algorithm: algorithm, Secret: secret})
				accepted(t, v, signedBy(t, algorithm, []byte(secret), nil, payload()))
				return
			}
			key := map[string]crypto.Signer{
				"RSA": rsaKey(), "P-256": p256Key(), "P-384": p384Key(), "P-521": p521Key(), "Ed25519": ed25519Key(),
			}[kind]
			v := verifier(t, Issuer{Algorithm: algorithm, PublicKeyFile: fileWith(t, publicPEM(t, key.Public()))})
			token := signedBy(t, algorithm, key, nil, payload())
			accepted(t, v, token)
			refused(t, v, token[:len(token)-8]+"AAAAAAAA", ErrInvalidToken)
		})
	}
}

func TestVerifyTypes(t *testing.T) {
	v := verifier(t, hs256())
	for header, want := range map[string]error{
		`{"alg":"HS256"}`:                              nil,
		`{"alg":"HS256","typ":"jwt"}`:                  nil,
		`{"alg":"HS256","typ":"at+JWT"}`:               nil,
		`{"alg":"HS256","typ":"application/at+jwt"}`:   nil,
		`{"alg":"HS256","typ":"logout+jwt"}`:           ErrInvalidToken,
		`{"alg":"HS256","typ":"application/json"}`:     ErrInvalidToken,
		`{"alg":"HS256","typ":""}`:                     ErrInvalidToken,
		`{"alg":"HS256","typ":null}`:                   ErrInvalidToken,
		`{"alg":"HS256","typ":["JWT"]}`:                ErrInvalidToken,
		`{"alg":"HS256","typ":"JWT","kid":"whatever"}`: nil,
	} {
		if _, err := v.Verify(t.Context(), raw(header, goodPayload(""))); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", header, err, want)
		}
	}
}

func TestVerifyTimes(t *testing.T) {
	// The clock of the bubble stands at 2000-01-01 00:00:00 UTC.
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Unix()
		v := verifier(t, hs256())
		for name, c := range map[string]struct {
			claims map[string]any
			want   error
		}{
			"expires in a second":            {payload("exp", now+1), nil},
			"expires in a tenth":             {payload("exp", float64(now)+0.1), nil},
			"expires as a power of ten":      {payload("exp", json.Number("1e10")), nil},
			"expires now":                    {payload("exp", now), ErrExpiredToken},
			"expired within leeway":          {payload("exp", now-1), ErrExpiredToken},
			"expired at the epoch":           {payload("exp", 0), ErrExpiredToken},
			"starts within leeway":           {payload("nbf", now+30), nil},
			"starts beyond leeway":           {payload("nbf", now+31), ErrInvalidToken},
			"issued within leeway":           {payload("iat", now+30), nil},
			"issued beyond leeway":           {payload("iat", now+31), ErrInvalidToken},
			"starts in the future, expired":  {payload("nbf", now+31, "exp", now-1), ErrInvalidToken},
			"starts at a word":               {payload("nbf", "now"), ErrInvalidToken},
			"issued at a word":               {payload("iat", true), ErrInvalidToken},
			"issued before 1970":             {payload("iat", -1), ErrInvalidToken},
			"issued at the epoch":            {payload("iat", 0), nil},
			"expired, and for somebody else": {payload("exp", now-1, "sub", ""), ErrInvalidToken},
		} {
			if _, err := v.Verify(t.Context(), signed(t, c.claims)); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
		}
		token := signed(t, payload("exp", now+3600))
		advance(time.Hour - 1)
		accepted(t, v, token)
		advance(1)
		refused(t, v, token, ErrExpiredToken)
	})
}

func TestVerifyAmongSeveralIssuers(t *testing.T) {
	const other = "the-second-issuer-signs-with-these-bytes"
	v := verifier(t,
		Issuer{Issuer: "one", Secret: secret},
		Issuer{Issuer: "two", Secret: other},
		Issuer{Issuer: "two", Secret: other + other, UserClaim: "user"},
		Issuer{Algorithm: "HS512", Secret: other},
	)
	for name, c := range map[string]struct {
		algorithm, secret, issuer string
		want                      error
	}{
		"the first":                        {"HS256", secret, "one", nil},
		"the second":                       {"HS256", other, "two", nil},
		"another key of the second":        {"HS256", other + other, "two", nil},
		"by algorithm, any iss":            {"HS512", other, "three", nil},
		"the first's key, the second's":    {"HS256", secret, "two", ErrInvalidToken},
		"the second's key, the first's":    {"HS256", other, "one", ErrInvalidToken},
		"nobody's iss":                     {"HS256", secret, "three", ErrInvalidToken},
		"the fourth's key, one's alg":      {"HS256", other, "three", ErrInvalidToken},
		"the first's key, the fourth's":    {"HS512", secret, "one", ErrInvalidToken},
		"an algorithm that nobody has":     {"HS384", secret, "one", ErrInvalidToken},
		"a key of the second, other claim": {"HS256", other + other, "one", ErrInvalidToken},
	} {
		token := signedBy(t, c.algorithm, []byte(c.secret), nil, payload("iss", c.issuer, "user", "u"))
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	expired := signedBy(t, "HS256", []byte(other), nil, payload("iss", "two", "exp", in(-time.Hour)))
	refused(t, v, expired, ErrExpiredToken)
}

func TestVerifyAudience(t *testing.T) {
	v := verifier(t, Issuer{Audience: "aldaba", Secret: secret})
	for name, c := range map[string]struct {
		audience any
		want     error
	}{
		"as text":         {"aldaba", nil},
		"in a list":       {[]string{"a", "aldaba"}, nil},
		"missing":         {nil, ErrInvalidToken},
		"foreign":         {"publisher", ErrInvalidToken},
		"foreign list":    {[]string{"a", "b"}, ErrInvalidToken},
		"empty list":      {[]string{}, ErrInvalidToken},
		"longer":          {"aldaba2", ErrInvalidToken},
		"another case":    {"Aldaba", ErrInvalidToken},
		"a number":        {7, ErrInvalidToken},
		"a list of mixed": {[]any{"aldaba", 7}, ErrInvalidToken},
		"an object":       {map[string]any{"aldaba": true}, ErrInvalidToken},
	} {
		if _, err := v.Verify(t.Context(), signed(t, payload("aud", c.audience))); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestSignMakesTokensThatVerify(t *testing.T) {
	file := fileWith(t, []byte(secret+"\n"))
	token, err := Sign(Issuer{Algorithm: "HS512", SecretFile: file}, payload())
	if err != nil {
		t.Fatal(err)
	}
	got := accepted(t, verifier(t, Issuer{Algorithm: "HS512", Secret: secret}), token)
	if diff := cmp.Diff("42", got.User); diff != "" {
		t.Error(diff)
	}
}

func TestSignRefusesWhatItCannotDo(t *testing.T) {
	for name, issuer := range map[string]Issuer{
		"public key":        {Algorithm: "RS256", PublicKeyFile: "key.pem"},
		"short secret":      {Secret: "short"},
		"no secret":         {},
		"unknown algorithm": {Algorithm: "none", Secret: secret},
	} {
		if token, err := Sign(issuer, payload()); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
	if _, err := Sign(hs256(), map[string]any{"f": func() {}}); err == nil {
		t.Error("signed a function")
	}
}
