package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is what the tests' own issuer signs with.
const secret = "the-tests-sign-with-these-32-bytes!"

// Keys are made once: RSA takes its time.
var (
	rsaKey     = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	weakRSA    = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 1024)) })
	p256Key    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384Key    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521Key    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	ed25519Key = sync.OnceValue(func() ed25519.PrivateKey { _, key, err := ed25519.GenerateKey(rand.Reader); return must(key, err) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func hs256() Issuer { return Issuer{Algorithm: "HS256", Secret: secret} }

// verifier returns a verifier that ends with the test.
func verifier(t testing.TB, issuers ...Issuer) *Verifier {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v, err := NewVerifier(ctx, issuers, 30*time.Second)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); v.Wait() })
	return v
}

// in returns the NumericDate d from now.
func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// payload returns good claims for user 42, changed by changes: name, value, ….
// A nil value takes the claim away.
func payload(changes ...any) map[string]any {
	claims := map[string]any{"sub": "42", "exp": in(time.Hour)}
	for i := 0; i < len(changes); i += 2 {
		name, _ := changes[i].(string)
		if claims[name] = changes[i+1]; changes[i+1] == nil {
			delete(claims, name)
		}
	}
	return claims
}

// signed returns a token of the tests' own issuer.
func signed(t testing.TB, claims map[string]any) string {
	t.Helper()
	token, err := Sign(hs256(), claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signedBy returns a token signed with any key, header members added.
func signedBy(t testing.TB, algorithm string, key any, header, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims(claims))
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// raw returns a token with exactly this header and payload, properly signed: if
// it is refused, the signature is not why.
func raw(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return sealed(encode([]byte(header)), encode([]byte(payload)))
}

// sealed returns a token of parts that are encoded already, properly signed.
func sealed(header, payload string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + payload))
	return header + "." + payload + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const goodHeader = `{"alg":"HS256","typ":"JWT"}`

// goodPayload returns the JSON of good claims with members added.
func goodPayload(members string) string {
	return fmt.Sprintf(`{"sub":"42","exp":%d%s}`, in(time.Hour), members)
}

// accepted fails the test unless v accepts token.
func accepted(t *testing.T, v *Verifier, token string) *Claims {
	t.Helper()
	claims, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return claims
}

// refused fails the test unless v refuses token with want, and nothing of the
// token is in the error.
func refused(t *testing.T, v *Verifier, token string, want error) {
	t.Helper()
	claims, err := v.Verify(t.Context(), token)
	if !errors.Is(err, want) {
		t.Fatalf("got %+v, %v; want %v", claims, err, want)
	}
	if claims != nil {
		t.Errorf("claims together with an error: %+v", claims)
	}
	for _, sentinel := range []error{ErrNoToken, ErrTokenInURL, ErrInvalidToken, ErrExpiredToken, ErrKeysUnavailable} {
		if !errors.Is(sentinel, want) && errors.Is(err, sentinel) {
			t.Errorf("%v is also %v", err, sentinel)
		}
	}
	if n := len(err.Error()); n > 512 { // a forger would choose how much is logged
		t.Errorf("the error has %d bytes: %.100s", n, err)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 10 && strings.Contains(err.Error(), part) {
			t.Errorf("the token is in the error: %v", err)
		}
	}
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// fileWith returns the path of a new file.
func fileWith(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// faultPaths returns the paths of the faults that err joins.
func faultPaths(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("not joined: %v", err)
	}
	var paths []string
	for _, err := range joined.Unwrap() {
		var fault *Fault
		if !errors.As(err, &fault) {
			t.Fatalf("not a fault: %v", err)
		}
		if fault.Reason == "" || strings.ToLower(fault.Reason[:1]) != fault.Reason[:1] && !strings.HasPrefix(fault.Reason, "HS") &&
			!strings.HasPrefix(fault.Reason, "RS") && !strings.HasPrefix(fault.Reason, "ES") && !strings.HasPrefix(fault.Reason, "Ed") {
			t.Errorf("%s: reason is not in lower case: %q", fault.Path, fault.Reason)
		}
		paths = append(paths, fault.Path)
	}
	return paths
}

// advance lets d pass on the clock of the synctest bubble it is called in.
func advance(d time.Duration) { <-time.After(d) }
