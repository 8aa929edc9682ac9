package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// KeyPair names the files of a certificate, its chain after it, and of the
// certificate's key. Both are PEM. The zero value is no pair.
type KeyPair struct {
	CertFile string
	KeyFile  string
}

// FileOf is a file of a KeyPair.
type FileOf string

// The files of a KeyPair, called as the configuration calls them.
const (
	FileOfCertificate FileOf = "cert_file"
	FileOfKey         FileOf = "key_file"
)

// KeyPairError is what is wrong with one file of a KeyPair. It never holds what
// the file does.
type KeyPairError struct {
	File   FileOf
	Reason string
}

func (e *KeyPairError) Error() string { return string(e.File) + ": " + e.Reason }

// Load reads the pair. Its errors are *KeyPairError, joined if there are two.
func (k KeyPair) Load() (*tls.Certificate, error) {
	text, err := k.read()
	if err != nil {
		return nil, err
	}
	return text.parse()
}

// pairText is what the files of a KeyPair hold.
type pairText struct{ certificate, key string }

func (k KeyPair) read() (text pairText, err error) {
	certificate, err1 := readPEM(FileOfCertificate, k.CertFile)
	key, err2 := readPEM(FileOfKey, k.KeyFile)
	return pairText{certificate, key}, errors.Join(err1, err2)
}

// longestPEM bounds a file: the longest chains take some 10 KiB.
const longestPEM = 1 << 20

// readPEM reads a whole file. It takes no pipe: the file is read again and again.
func readPEM(file FileOf, name string) (string, error) {
	if name == "" {
		return "", &KeyPairError{file, "is missing: a certificate and its key go together; for plain HTTP leave both empty"}
	}
	about, err := os.Stat(name)
	if err != nil {
		return "", unreadable(file, err)
	}
	if !about.Mode().IsRegular() {
		return "", &KeyPairError{file, "is not a regular file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return "", unreadable(file, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longestPEM+1))
	switch {
	case err != nil:
		return "", unreadable(file, err)
	case len(text) > longestPEM:
		return "", &KeyPairError{file, fmt.Sprintf("is longer than %d bytes", longestPEM)}
	}
	return string(text), nil
}

func unreadable(file FileOf, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err // without the path, which the reader sees anyway
	}
	return &KeyPairError{file, "cannot be read: " + err.Error()}
}

func (t pairText) parse() (*tls.Certificate, error) {
	if reason := badCertificate([]byte(t.certificate)); reason != "" {
		return nil, &KeyPairError{FileOfCertificate, reason}
	}
	if reason := badKey([]byte(t.key)); reason != "" {
		return nil, &KeyPairError{FileOfKey, reason}
	}
	pair, err := tls.X509KeyPair([]byte(t.certificate), []byte(t.key))
	switch {
	case err == nil:
		return &pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, &KeyPairError{FileOfKey, "is the key of another certificate than the first one in cert_file"}
	default:
		return nil, &KeyPairError{FileOfKey, strings.TrimPrefix(err.Error(), "tls: ")}
	}
}

// badCertificate says what is wrong with a chain, if anything. A browser would
// refuse a broken one further on, so all of it is looked at.
func badCertificate(text []byte) string {
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Sprintf("certificate %d of it is broken: %s", n, strings.TrimPrefix(err.Error(), "x509: "))
		}
	}
	if n == 0 {
		return "has no certificate: it begins with -----BEGIN CERTIFICATE-----"
	}
	return ""
}

// badKey says why text cannot hold a key, if it cannot.
func badKey(text []byte) string {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return "is encrypted, and nobody is there to ask for the password: openssl pkey -in KEY -out PLAIN"
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return ""
		}
	}
	return "has no private key: it begins with -----BEGIN PRIVATE KEY-----"
}
