package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newFaulty(issuers ...Issuer) error {
	// The context is done, so that what is started by mistake ends.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := NewVerifier(ctx, issuers, 0)
	return err
}

func TestIssuerFaults(t *testing.T) {
	secretFile := fileWith(t, []byte(secret))
	rsaFile := fileWith(t, publicPEM(t, rsaKey().Public()))
	p256File := fileWith(t, publicPEM(t, p256Key().Public()))
	const https = "https://issuer.example/jwks.json"
	for name, c := range map[string]struct {
		issuer Issuer
		want   []string
	}{
		"good secret":                 {Issuer{Secret: secret}, nil},
		"good secret file":            {Issuer{SecretFile: secretFile}, nil},
		"good public key":             {Issuer{Algorithm: "RS256", PublicKeyFile: rsaFile}, nil},
		"good JWKS":                   {Issuer{Algorithm: "RS256", JWKSURL: https}, nil},
		"JWKS on this machine":        {Issuer{Algorithm: "EdDSA", JWKSURL: "http://localhost:1/jwks"}, nil},
		"JWKS on this machine, IPv6":  {Issuer{Algorithm: "EdDSA", JWKSURL: "http://[::1]:1/jwks"}, nil},
		"nothing at all":              {Issuer{}, []string{"[0].secret"}},
		"no public key":               {Issuer{Algorithm: "ES256"}, []string{"[0].public_key_file"}},
		"algorithm none":              {Issuer{Algorithm: "none", Secret: secret}, []string{"[0].algorithm"}},
		"algorithm in lower case":     {Issuer{Algorithm: "hs256", Secret: secret}, []string{"[0].algorithm"}},
		"unknown algorithm":           {Issuer{Algorithm: "ES256K", Secret: secret}, []string{"[0].algorithm"}},
		"short secret":                {Issuer{Secret: secret[:31]}, []string{"[0].secret"}},
		"short secret file":           {Issuer{SecretFile: fileWith(t, []byte(secret[:31]+"\n"))}, []string{"[0].secret_file"}},
		"empty secret file":           {Issuer{SecretFile: fileWith(t, nil)}, []string{"[0].secret_file"}},
		"missing secret file":         {Issuer{SecretFile: "/does/not/exist"}, []string{"[0].secret_file"}},
		"huge secret file":            {Issuer{SecretFile: fileWith(t, bytes.Repeat([]byte("ab"), maxKeyFile))}, []string{"[0].secret_file"}},
		"placeholder":                 {Issuer{Secret: "Change-Me-change-me-change-me-please"}, []string{"[0].secret"}},
		"placeholder without hyphen":  {Issuer{Secret: "changeme0123456789012345678901234567"}, []string{"[0].secret"}},
		"one byte over and over":      {Issuer{Secret: strings.Repeat("x", 64)}, []string{"[0].secret"}},
		"PEM as secret":               {Issuer{Secret: string(publicPEM(t, rsaKey().Public()))}, []string{"[0].secret"}},
		"PEM as secret file":          {Issuer{SecretFile: rsaFile}, []string{"[0].secret_file"}},
		"two secrets":                 {Issuer{Secret: secret, SecretFile: secretFile}, []string{"[0].secret_file"}},
		"two public keys":             {Issuer{Algorithm: "RS256", PublicKeyFile: rsaFile, JWKSURL: https}, []string{"[0].jwks_url"}},
		"HS with a public key":        {Issuer{PublicKeyFile: rsaFile}, []string{"[0].public_key_file"}},
		"HS with both":                {Issuer{Secret: secret, PublicKeyFile: rsaFile}, []string{"[0].public_key_file"}},
		"HS with JWKS":                {Issuer{JWKSURL: https}, []string{"[0].jwks_url"}},
		"RS with a secret":            {Issuer{Algorithm: "RS256", Secret: secret}, []string{"[0].secret"}},
		"RS with a secret file":       {Issuer{Algorithm: "RS256", SecretFile: secretFile, PublicKeyFile: rsaFile}, []string{"[0].secret_file"}},
		"RS with a key of ES":         {Issuer{Algorithm: "RS256", PublicKeyFile: p256File}, []string{"[0].public_key_file"}},
		"ES with a key of RS":         {Issuer{Algorithm: "ES256", PublicKeyFile: rsaFile}, []string{"[0].public_key_file"}},
		"ES with another curve":       {Issuer{Algorithm: "ES384", PublicKeyFile: p256File}, []string{"[0].public_key_file"}},
		"EdDSA with a key of ES":      {Issuer{Algorithm: "EdDSA", PublicKeyFile: p256File}, []string{"[0].public_key_file"}},
		"weak RSA key":                {Issuer{Algorithm: "RS256", PublicKeyFile: fileWith(t, publicPEM(t, weakRSA().Public()))}, []string{"[0].public_key_file"}},
		"not PEM":                     {Issuer{Algorithm: "RS256", PublicKeyFile: secretFile}, []string{"[0].public_key_file"}},
		"missing public key file":     {Issuer{Algorithm: "RS256", PublicKeyFile: "/does/not/exist"}, []string{"[0].public_key_file"}},
		"JWKS over http":              {Issuer{Algorithm: "RS256", JWKSURL: "http://issuer.example/jwks"}, []string{"[0].jwks_url"}},
		"JWKS on a look-alike":        {Issuer{Algorithm: "RS256", JWKSURL: "http://localhost.example/jwks"}, []string{"[0].jwks_url"}},
		"JWKS from a file":            {Issuer{Algorithm: "RS256", JWKSURL: "file:///etc/passwd"}, []string{"[0].jwks_url"}},
		"JWKS from nowhere":           {Issuer{Algorithm: "RS256", JWKSURL: "jwks.json"}, []string{"[0].jwks_url"}},
		"JWKS from a broken URL":      {Issuer{Algorithm: "RS256", JWKSURL: "https://a b/%zz"}, []string{"[0].jwks_url"}},
		"JWKS with a password":        {Issuer{Algorithm: "RS256", JWKSURL: "https://user:pass@issuer.example/"}, []string{"[0].jwks_url"}},
		"user claim with white space": {Issuer{Secret: secret, UserClaim: "user id"}, []string{"[0].user_claim"}},
		"user claim that ends in dot": {Issuer{Secret: secret, UserClaim: "user."}, []string{"[0].user_claim"}},
	} {
		if diff := cmp.Diff(c.want, faultPaths(t, newFaulty(c.issuer))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestIssuerFaultsAreReportedAllAtOnce(t *testing.T) {
	err := newFaulty(Issuer{Secret: "short", UserClaim: ".x"}, hs256(), Issuer{Algorithm: "HS1024"})
	if diff := cmp.Diff([]string{"[0].user_claim", "[0].secret", "[2].algorithm"}, faultPaths(t, err)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{""}, faultPaths(t, newFaulty())); diff != "" {
		t.Error(diff)
	}
	if _, err := NewVerifier(t.Context(), []Issuer{hs256()}, -time.Second); err == nil {
		t.Error("leeway below zero was accepted")
	}
}

func TestIssuerFaultsDoNotTellTheSecret(t *testing.T) {
	err := newFaulty(Issuer{Secret: "hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestIssuerWithCertificate(t *testing.T) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, p256Key().Public(), p256Key()))
	file := fileWith(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	v := verifier(t, Issuer{Algorithm: "ES256", PublicKeyFile: file})
	accepted(t, v, signedBy(t, "ES256", p256Key(), nil, payload()))
}

func TestIssuerWithUnusablePEM(t *testing.T) {
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	public := publicPEM(t, rsaKey().Public())
	for name, content := range map[string][]byte{
		"a private key":       block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(rsaKey())))),
		"an RSA private key":  block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())),
		"a PKCS #1 key":       block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)),
		"two keys":            append(public, public...),
		"garbage":             block("PUBLIC KEY", []byte("garbage")),
		"a broken certficate": block("CERTIFICATE", []byte("garbage")),
	} {
		err := newFaulty(Issuer{Algorithm: "RS256", PublicKeyFile: fileWith(t, content)})
		if diff := cmp.Diff([]string{"[0].public_key_file"}, faultPaths(t, err)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestIssuerWithSecretFileTrimsOneNewline(t *testing.T) {
	for content, want := range map[string]string{
		secret + "\n": secret, secret + "\r\n": secret, secret: secret, secret + "\n\n": secret + "\n", " " + secret + " ": " " + secret + " ",
	} {
		v := verifier(t, Issuer{SecretFile: fileWith(t, []byte(content))})
		accepted(t, v, signedBy(t, "HS256", []byte(want), nil, payload()))
	}
}
