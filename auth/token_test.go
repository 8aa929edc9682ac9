package auth

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTokenAlgNoneInEverySpelling(t *testing.T) {
	v := verifier(t, hs256())
	encode := base64.RawURLEncoding.EncodeToString
	for spelling := range 16 {
		alg := []byte("none")
		for bit := range alg {
			if spelling>>bit&1 == 1 {
				alg[bit] -= 'a' - 'A'
			}
		}
		header := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, alg)
		refused(t, v, raw(header, goodPayload("")), ErrInvalidToken)
		refused(t, v, encode([]byte(header))+"."+encode([]byte(goodPayload("")))+".", ErrInvalidToken)
	}
	for _, alg := range []string{`""`, `null`, `0`, `["HS256"]`, `{"HS256":1}`, `"hs256"`, `" HS256"`, `"HS256 "`, `"HS256\u0000"`, `"None "`} {
		refused(t, v, raw(`{"alg":`+alg+`}`, goodPayload("")), ErrInvalidToken)
	}
	refused(t, v, raw(`{"typ":"JWT"}`, goodPayload("")), ErrInvalidToken)
}

func TestTokenWithEmptySignature(t *testing.T) {
	v := verifier(t, hs256())
	token := signed(t, payload())
	unsigned := token[:strings.LastIndex(token, ".")]
	for _, forged := range []string{unsigned, unsigned + ".", unsigned + ".AA", unsigned + "." + strings.Repeat("A", 43)} {
		refused(t, v, forged, ErrInvalidToken)
	}
}

func TestTokenSignedWithPublicKeyAsHMACSecret(t *testing.T) {
	text := publicPEM(t, rsaKey().Public())
	der := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	v := verifier(t, Issuer{Algorithm: "RS256", PublicKeyFile: fileWith(t, text)}, Issuer{Algorithm: "HS384", Secret: secret})
	for _, key := range [][]byte{text, text[:len(text)-1], der, rsaKey().N.Bytes()} {
		for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
			refused(t, v, signedBy(t, algorithm, key, nil, payload()), ErrInvalidToken)
		}
	}
}

func TestTokenOfAnotherAlgorithmWithTheSameKey(t *testing.T) {
	file := fileWith(t, publicPEM(t, rsaKey().Public()))
	v := verifier(t, Issuer{Algorithm: "PS256", PublicKeyFile: file})
	for _, algorithm := range []string{"RS256", "RS512", "PS384"} {
		refused(t, v, signedBy(t, algorithm, rsaKey(), nil, payload()), ErrInvalidToken)
	}
}

func TestTokenExpiredAndForged(t *testing.T) {
	v := verifier(t, hs256())
	refused(t, v, signed(t, payload("exp", in(-time.Hour))), ErrExpiredToken)
	forged := signedBy(t, "HS256", []byte("another secret of at least 32 bytes"), nil, payload("exp", in(-time.Hour)))
	refused(t, v, forged, ErrInvalidToken)
}

func TestTokenOfAMegabyteOfDots(t *testing.T) {
	v := verifier(t, hs256())
	good := signed(t, payload())
	for _, token := range []string{
		strings.Repeat(".", 1<<20), strings.Repeat(".", 2), strings.Repeat(".", 3), "", ".", "a", "a.b", "a.b.c.d", good + ".", "." + good,
		good + strings.Repeat("A", maxToken), signed(t, payload("padding", strings.Repeat("x", maxToken))),
	} {
		refused(t, v, token, ErrInvalidToken)
	}
}

func TestTokenWithMissingOrAbsurdExpiry(t *testing.T) {
	v := verifier(t, hs256())
	refused(t, v, signed(t, payload("exp", nil)), ErrInvalidToken)
	for _, exp := range []string{
		`null`, `"1999999999"`, `"never"`, `true`, `[]`, `{}`, `-1`, `-1e300`, `1e400`, `-1e400`, `253402300800`,
		`1e18`, `99999999999999999999999999`, `1790000000000`,
	} {
		refused(t, v, raw(goodHeader, `{"sub":"42","exp":`+exp+`}`), ErrInvalidToken)
	}
}

func TestTokenNotValidYet(t *testing.T) {
	v := verifier(t, hs256())
	refused(t, v, signed(t, payload("nbf", in(time.Minute))), ErrInvalidToken)
	refused(t, v, signed(t, payload("iat", in(time.Minute))), ErrInvalidToken)
	accepted(t, v, signed(t, payload("nbf", in(-time.Minute), "iat", in(-time.Minute))))
}

func TestTokenOfWrongIssuer(t *testing.T) {
	v := verifier(t, Issuer{Issuer: "https://a.example", Secret: secret})
	accepted(t, v, signed(t, payload("iss", "https://a.example")))
	for _, iss := range []any{nil, "", "https://b.example", "https://a.example/", "https://A.example", 7, []string{"https://a.example"}} {
		refused(t, v, signed(t, payload("iss", iss)), ErrInvalidToken)
	}
}

func TestTokenWithUnusableUser(t *testing.T) {
	v := verifier(t, hs256())
	accepted(t, v, signed(t, payload("sub", strings.Repeat("x", 255))))
	for _, sub := range []any{nil, "", 42, 4.2, true, []string{"42"}, map[string]any{"id": "42"}, strings.Repeat("x", 256), strings.Repeat("x", 8000)} {
		refused(t, v, signed(t, payload("sub", sub)), ErrInvalidToken)
	}
	refused(t, v, raw(goodHeader, `{"sub":null,"exp":1999999999}`), ErrInvalidToken)
}

func TestTokenIDThatCouldNotBeRevoked(t *testing.T) {
	v := verifier(t, hs256())
	for _, jti := range []any{7, true, []string{"a"}, strings.Repeat("x", 256)} {
		refused(t, v, signed(t, payload("jti", jti)), ErrInvalidToken)
	}
}

func TestTokenWithCriticalExtension(t *testing.T) {
	v := verifier(t, hs256())
	for _, member := range []string{
		`"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"crit":"b64"`, `"b64":false,"crit":["b64"]`, `"b64":false`, `"Crit":["exp"]`, `"B64":true`,
	} {
		refused(t, v, raw(`{"alg":"HS256",`+member+`}`, goodPayload("")), ErrInvalidToken)
	}
}

func TestTokenThatPointsToItsOwnKey(t *testing.T) {
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer server.Close()
	file := fileWith(t, publicPEM(t, rsaKey().Public()))
	jwks := serveKeys(t, jwk(t, rsaKey().Public(), "k1", nil))
	v := verifier(t, Issuer{Algorithm: "RS256", PublicKeyFile: file}, Issuer{Algorithm: "RS256", JWKSURL: jwks.URL})
	header := map[string]any{
		"kid": "k1", "jku": server.URL + "/jku", "x5u": server.URL + "/x5u",
		"jwk": json.RawMessage(jwk(t, otherRSA().Public(), "k1", nil)),
		"x5c": []string{base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(otherRSA().Public())))},
	}
	refused(t, v, signedBy(t, "RS256", otherRSA(), header, payload()), ErrInvalidToken)
	accepted(t, v, signedBy(t, "RS256", rsaKey(), header, payload()))
	if len(asked) > 0 {
		t.Errorf("asked for %s", <-asked)
	}
}

func TestTokenWithAbsurdKeyID(t *testing.T) {
	v := verifier(t, hs256())
	for _, kid := range []string{`7`, `null`, `""`, `["a"]`, `{"a":1}`, `"` + strings.Repeat("k", 257) + `"`} {
		refused(t, v, raw(`{"alg":"HS256","kid":`+kid+`}`, goodPayload("")), ErrInvalidToken)
	}
}

func TestTokenWithMembersTwice(t *testing.T) {
	v := verifier(t, hs256())
	accepted(t, v, raw(goodHeader, goodPayload(`,"a":{"x":1},"b":{"x":1},"list":[{"x":1},{"x":2}]`)))
	long := strings.Repeat("n", 4000)
	refused(t, v, raw(goodHeader, goodPayload(`,"`+long+`":1,"`+long+`":2`)), ErrInvalidToken)
	for _, members := range []string{
		`,"sub":"43"`, `,"exp":1`, `,"s\u0075b":"43"`, `,"a":1,"a":1`, `,"a":{"b":1,"b":2}`, `,"a":[[{"b":[],"b":[]}]]`, `,"":1,"":2`,
	} {
		refused(t, v, raw(goodHeader, goodPayload(members)), ErrInvalidToken)
	}
	refused(t, v, raw(`{"alg":"HS256","alg":"HS256"}`, goodPayload("")), ErrInvalidToken)
	refused(t, v, raw(`{"alg":"none","alg":"HS256"}`, goodPayload("")), ErrInvalidToken)
}

func TestTokenWithRegisteredNamesInAnotherCase(t *testing.T) {
	v := verifier(t, hs256())
	for _, name := range []string{"EXP", "Sub", "SUB", "iSS", "Aud", "NBF", "Iat", "JTI", "ſub", "\\u017fub", "Alg", "\\u212aid", "x5T#s256"} {
		refused(t, v, raw(goodHeader, goodPayload(`,"`+name+`":1`)), ErrInvalidToken)
	}
	for _, name := range []string{"Alg", "ALG", "Typ", "KID", "Jku", "CRIT", "\u212aid"} {
		refused(t, v, raw(`{"alg":"HS256","`+name+`":"HS256"}`, goodPayload("")), ErrInvalidToken)
	}
	accepted(t, v, raw(goodHeader, goodPayload(`,"profile":{"SUB":"x"},"Name":"x","name":"y"`)))
}

func TestTokenThatIsNotUnicode(t *testing.T) {
	v := verifier(t, hs256())
	for _, text := range []string{"\xff", "\xc3\x28", "\xed\xa0\x80", `\ud800`, `\udc00`, `\ud800\ud800`, `\ud800x`, `\ud83d\n\ude00`, `\\\ud800`, `\uDFFF`} {
		refused(t, v, raw(goodHeader, goodPayload(`,"x":"`+text+`"`)), ErrInvalidToken)
		refused(t, v, raw(goodHeader, goodPayload(`,"`+text+`":1`)), ErrInvalidToken)
		refused(t, v, raw(`{"alg":"HS256","x":"`+text+`"}`, goodPayload("")), ErrInvalidToken)
	}
	for _, text := range []string{`\ud83d\ude00`, `\\ud800`, `\\\\ud800`, `\u00e9`, "é😀", "\ufffd", `\ufffd`, `\"\/\b\n`} {
		accepted(t, v, raw(goodHeader, goodPayload(`,"x":"`+text+`"`)))
	}
}

func TestTokenThatIsNotOneObject(t *testing.T) {
	v := verifier(t, hs256())
	good := goodPayload("")
	for _, text := range []string{
		``, ` `, `null`, `[]`, `"x"`, `7`, `{`, `{}{}`, good + good, good + `x`, good + `,`, good[:len(good)-1], `[` + good + `]`,
		goodPayload(`,`), goodPayload(`,"a"`), goodPayload(`,"a":`), goodPayload(`,"a":01`), goodPayload(`,"a":[1,]`), goodPayload(`,a:1`),
	} {
		refused(t, v, raw(goodHeader, text), ErrInvalidToken)
	}
	for _, header := range []string{`null`, `[]`, `"HS256"`, `{"alg":"HS256"}{"alg":"HS256"}`, `{"alg":"HS256"`} {
		refused(t, v, raw(header, good), ErrInvalidToken)
	}
}

func TestTokenNestedDeeply(t *testing.T) {
	v := verifier(t, hs256())
	nested := func(depth int) string {
		return goodPayload(`,"x":` + strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth))
	}
	accepted(t, v, raw(goodHeader, nested(maxDepth-1)))
	refused(t, v, raw(goodHeader, nested(maxDepth)), ErrInvalidToken)
	refused(t, v, raw(goodHeader, nested(5000)), ErrInvalidToken)
}

func TestTokenInSloppyBase64(t *testing.T) {
	v := verifier(t, hs256())
	encode := base64.RawURLEncoding.EncodeToString
	header, good := encode([]byte(goodHeader)), encode([]byte(goodPayload("")))
	accepted(t, v, sealed(header, good))
	for _, token := range []string{
		sealed(header+"=", good), sealed(header, good+"="), sealed(header, good+"\n"), sealed(header+"\r\n", good),
		sealed(header, good) + "\n", sealed(header, good) + "=", " " + sealed(header, good), sealed(header, good) + " ",
		sealed(header, good[:4]+"+/"+good[6:]), sealed(header, good[:8]+"\n"+good[8:]),
		sealed("eyJhbGciOiJIUzI1NiJ9", "e31"), // "{}" with a bit set that decodes to nothing
		strings.Replace(sealed(header, good), ".", "\n.", 1),
	} {
		refused(t, v, token, ErrInvalidToken)
	}
}

func TestTokenWhenNobodyWaitsAnyMore(t *testing.T) {
	v := verifier(t, hs256())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.Verify(ctx, signed(t, payload()))
	if !errors.Is(err, ErrKeysUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
