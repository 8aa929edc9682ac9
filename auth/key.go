package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// DevSecretPrefix begins the secrets that `aldaba dev` makes. A program that
// serves others refuses them.
const DevSecretPrefix = "aldaba-dev-" //nolint:gosec // how such secrets begin, not one of them

// Bounds on keys.
const (
	minSecret  = 32       // bytes: what HS256 needs (RFC 7518 section 3.2)
	minRSA     = 2048     // bits (RFC 7518 section 3.3)
	maxRSA     = 8192     // bits: beyond, each verification costs milliseconds
	maxKeyFile = 64 << 10 // bytes
)

// algorithms says what kind of key each algorithm takes. What is not in it,
// "none" above all, cannot be configured.
var algorithms = map[string]string{
	"HS256": "secret", "HS384": "secret", "HS512": "secret",
	"RS256": "RSA", "RS384": "RSA", "RS512": "RSA",
	"PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
	"ES256": "P-256", "ES384": "P-384", "ES512": "P-521",
	"EdDSA": "Ed25519",
}

// source is one of the places in an Issuer that a key can come from.
type source struct {
	name, value string
	forSecrets  bool
}

func (i Issuer) sources() []source {
	return []source{
		{"secret", i.Secret, true},
		{"secret_file", i.SecretFile, true},
		{"public_key_file", i.PublicKeyFile, false},
		{"jwks_url", i.JWKSURL, false},
	}
}

// loadKeys returns where the keys of config come from, or adds to found why
// they cannot.
func loadKeys(path string, config Issuer, transport http.RoundTripper, found *faults) keySource {
	kind, ok := algorithms[config.Algorithm]
	if !ok {
		found.add(path+"algorithm", "unknown algorithm %q: HS, RS, PS or ES with 256, 384 or 512, or EdDSA", config.Algorithm)
		return nil
	}
	chosen, ok := chooseSource(path, config, kind == "secret", found)
	if !ok {
		return nil
	}
	var keys keySource
	var err error
	switch chosen.name {
	case "jwks_url":
		keys, err = newKeySet(chosen.value, config.Algorithm, transport)
	case "public_key_file":
		keys, err = readPublicKey(chosen.value, config.Algorithm)
	case "secret_file":
		keys, err = readSecret(chosen.value)
	default:
		keys, err = checkSecret([]byte(chosen.value))
	}
	if err != nil {
		found.add(path+chosen.name, "%s", err)
	}
	return keys
}

// chooseSource returns the one place that config takes its key from.
func chooseSource(path string, config Issuer, secrets bool, found *faults) (chosen source, ok bool) {
	wanted, other := "public_key_file or jwks_url", "secret or secret_file"
	if secrets {
		wanted, other = other, wanted
	}
	given := 0
	for _, s := range config.sources() {
		switch {
		case s.value == "":
			continue
		case s.forSecrets != secrets:
			found.add(path+s.name, "%s takes its key from %s, not from %s", config.Algorithm, wanted, other)
		case ok:
			found.add(path+s.name, "only one of %s: %s is set as well", wanted, chosen.name)
		}
		if given++; s.forSecrets == secrets {
			chosen, ok = s, true
		}
	}
	if given == 0 {
		first, _, _ := strings.Cut(wanted, " ")
		found.add(path+first, "no key: %s needs %s", config.Algorithm, wanted)
	}
	return chosen, ok && given == 1
}

func readSecret(file string) (keySource, error) {
	secret, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	secret = bytes.TrimSuffix(secret, []byte("\n"))
	return checkSecret(bytes.TrimSuffix(secret, []byte("\r")))
}

// checkSecret refuses secrets that are none. A public key in their place is the
// classic attack on verifiers that accept more than one algorithm.
func checkSecret(secret []byte) (keySource, error) {
	lower := bytes.ToLower(secret)
	switch {
	case bytes.Contains(secret, []byte("-----BEGIN ")):
		return nil, errors.New("this is a PEM file, not a secret: a public key is known to everyone")
	case len(secret) < minSecret:
		return nil, fmt.Errorf("%d bytes are too few, at least %d: openssl rand -base64 48", len(secret), minSecret)
	case bytes.HasPrefix(lower, []byte("change-me")), bytes.HasPrefix(lower, []byte("changeme")), bytes.HasPrefix(lower, []byte("change_me")),
		bytes.Count(secret, secret[:1]) == len(secret):
		return nil, errors.New("this is a placeholder, not a secret: openssl rand -base64 48")
	}
	return fixedKey{secret}, nil
}

func readPublicKey(file, algorithm string) (keySource, error) {
	data, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	key, err := parsePublicKey(data)
	if err != nil {
		return nil, err
	}
	if err := suits(algorithm, key); err != nil {
		return nil, err
	}
	return fixedKey{key}, nil
}

func parsePublicKey(data []byte) (any, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in this file: it begins with -----BEGIN PUBLIC KEY-----")
	}
	switch block.Type {
	case "CERTIFICATE":
		// The first of a chain is the issuer's own. Its dates are not judged: the
		// operator, not the chain, says that this key is the issuer's.
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("not a certificate: %w", err)
		}
		return certificate.PublicKey, nil
	case "PUBLIC KEY":
		if next, _ := pem.Decode(rest); next != nil {
			return nil, errors.New("more than one key in this file: make one issuer for each")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("not a public key: %w", err)
		}
		return key, nil
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return nil, errors.New("this is a private key, which the hub must not have: openssl pkey -pubout")
	}
	return nil, fmt.Errorf("a PEM block of type %q: wanted is PUBLIC KEY or CERTIFICATE", block.Type)
}

// suits returns an error if key is not one that algorithm takes.
func suits(algorithm string, key any) error {
	kind := fmt.Sprintf("%T", key)
	switch key := key.(type) {
	case *rsa.PublicKey:
		kind = "RSA"
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA || key.E < 3 || key.E%2 == 0 {
			return fmt.Errorf("an RSA key has %d to %d bits and an odd exponent", minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		kind = key.Params().Name
	case ed25519.PublicKey:
		kind = "Ed25519"
	}
	if wanted := algorithms[algorithm]; kind != wanted {
		return fmt.Errorf("%s takes a key of kind %s, this one is %s", algorithm, wanted, kind)
	}
	return nil
}

// readKeyFile reads at most as much as a key can be.
func readKeyFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s is longer than %d bytes", file, maxKeyFile)
	}
	return data, err
}
