package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pairPEM is a certificate for 127.0.0.1 that calls itself name, and its key.
func pairPEM(t *testing.T, name string, until time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     until,
		DNSNames:     []string{name},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// tlsServer is a server that listens, with files for its certificate that a test
// may change.
type tlsServer struct {
	*Server

	t       *testing.T
	files   KeyPair
	address string
	logs    *lockedBuffer
}

func startTLS(t *testing.T, name string, change ...func(*Server)) *tlsServer {
	t.Helper()
	dir := t.TempDir()
	s := &tlsServer{
		t:     t,
		files: KeyPair{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")},
		logs:  new(lockedBuffer),
	}
	s.renew(pairPEM(t, name, time.Now().Add(time.Hour)))
	var err error
	s.Server, err = New(Options{
		Hub:     brokenHub{},
		Ready:   func() error { return nil },
		Metrics: prometheus.NewRegistry(),
		Logger:  slog.New(slog.NewTextHandler(s.logs, nil)),
		TLS:     s.files,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.certificatePeriod = 5 * time.Millisecond
	for _, f := range change {
		f(s.Server)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *tlsServer) renew(certificate, key string) {
	s.t.Helper()
	write(s.t, s.files.CertFile, certificate)
	write(s.t, s.files.KeyFile, key)
}

func (s *tlsServer) eventually(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			s.t.Fatalf("not %s in %v", what, patience)
		case <-tick.C:
		}
	}
}

// shakeHands connects as config says, which may be for any certificate.
func (s *tlsServer) shakeHands(config *tls.Config) (tls.ConnectionState, error) {
	s.t.Helper()
	config.InsecureSkipVerify = true // the test looks at the certificate itself
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	conn, err := d.DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// name is what the certificate that is presented now calls itself.
func (s *tlsServer) name() string {
	s.t.Helper()
	state, err := s.shakeHands(&tls.Config{})
	if err != nil {
		s.t.Fatal(err)
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func TestProtocolsThatAreNegotiated(t *testing.T) {
	s := startTLS(t, "hub.example")
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{[]string{"h2", "http/1.1"}, "h2"},
		{[]string{"http/1.1"}, "http/1.1"}, // what browsers offer for a WebSocket
		{nil, ""},
	} {
		state, err := s.shakeHands(&tls.Config{NextProtos: c.offered})
		if err != nil || state.NegotiatedProtocol != c.want {
			t.Errorf("of %v: %q, %v", c.offered, state.NegotiatedProtocol, err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := startTLS(t, "hub.example")
	if _, err := s.shakeHands(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	if _, err := s.shakeHands(&tls.Config{MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

// Somebody who connects and says nothing holds a descriptor for headerWait only.
func TestSilentHandshakeIsCut(t *testing.T) {
	s := startTLS(t, "hub.example", func(s *Server) {
		if s.public.ReadHeaderTimeout != headerWait {
			t.Errorf("a head may take %v", s.public.ReadHeaderTimeout)
		}
		s.public.ReadHeaderTimeout = 50 * time.Millisecond
	})
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("after %v: %d bytes, %v", patience, n, err)
	}
}

func TestPlainRequestIsToldSo(t *testing.T) {
	s := startTLS(t, "hub.example")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	got, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if text, _ := io.ReadAll(got.Body); got.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("%d %q", got.StatusCode, text)
	}
}

func TestRenewedCertificateIsServed(t *testing.T) {
	s := startTLS(t, "old.example")
	if got := s.name(); got != "old.example" {
		t.Fatal(got)
	}
	s.renew(pairPEM(t, "new.example", time.Now().Add(time.Hour)))
	s.eventually("renewed", func() bool { return s.name() == "new.example" })
	if n := s.logs.count("certificate reloaded"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// What mounts secrets exchanges a link, and the files keep their times.
func TestCertificateBehindALink(t *testing.T) {
	s := startTLS(t, "old.example")
	certificate, key := pairPEM(t, "new.example", time.Now().Add(time.Hour))
	for file, text := range map[string]string{s.files.CertFile: certificate, s.files.KeyFile: key} {
		write(t, file+".new", text)
		if err := os.Symlink(file+".new", file+".link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".link", file); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("renewed", func() bool { return s.name() == "new.example" })
}

func TestBrokenPairIsKeptOut(t *testing.T) {
	certificate, key := pairPEM(t, "new.example", time.Now().Add(time.Hour))
	_, foreign := pairPEM(t, "foreign.example", time.Now().Add(time.Hour))
	for name, files := range map[string][2]string{
		"key of another":  {certificate, foreign},
		"no certificate":  {"nonsense", key},
		"empty files":     {"", ""},
		"half a file":     {certificate[:len(certificate)/2], key},
		"exchanged files": {key, certificate},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t, "old.example")
			s.renew(files[0], files[1])
			warning := "level=WARN msg=\"the new certificate cannot be used"
			s.eventually("told", func() bool { return s.logs.count(warning) > 0 })
			if got := s.name(); got != "old.example" {
				t.Errorf("%s is presented", got)
			}
			// The next look that finds something new has come after many that did not.
			s.renew(certificate, key)
			s.eventually("mended", func() bool { return s.name() == "new.example" })
			if s.logs.count(foreign) > 0 || s.logs.count(key) > 0 {
				t.Error("a key is in the log")
			}
		})
	}
}

func TestBrokenPairIsToldOnce(t *testing.T) {
	s := startTLS(t, "old.example")
	logs := new(lockedBuffer)
	c, err := loadCertificates(s.files, slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.files.KeyFile); err != nil {
		t.Fatal(err)
	}
	c.look()
	if n := logs.count("level="); n != 0 {
		t.Errorf("a pair that may be half exchanged is told at once: %d lines", n)
	}
	for range 10 {
		c.look()
	}
	if n := logs.count("key_file: cannot be read: no such file"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestExpiredCertificateIsToldAndServed(t *testing.T) {
	s := startTLS(t, "old.example")
	s.renew(pairPEM(t, "expired.example", time.Now().Add(-time.Minute)))
	s.eventually("served", func() bool { return s.name() == "expired.example" })
	if s.logs.count("the certificate is not valid now") != 1 {
		t.Error("it is not told")
	}
}

func TestServerWithABrokenPairIsNone(t *testing.T) {
	_, err := New(Options{
		Hub: brokenHub{}, Ready: func() error { return nil }, Metrics: prometheus.NewRegistry(),
		Logger: slog.New(slog.DiscardHandler),
		TLS:    KeyPair{CertFile: "absent", KeyFile: "/dev/zero"},
	})
	if e, ok := errors.AsType[*KeyPairError](err); !ok || e.File != FileOfCertificate {
		t.Errorf("got %v", err)
	}
	if want := "key_file: is not a regular file"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("want %q, got %v", want, err)
	}
}
