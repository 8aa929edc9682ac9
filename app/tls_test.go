package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/deaftest"

	"github.com/gorilla/websocket"
)

// pairPEM is a certificate for hub.example, not for 127.0.0.1, and its key.
func pairPEM(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"hub.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// tlsReplica is a replica that speaks TLS, and what its clients trust.
type tlsReplica struct {
	*replica

	trust *tls.Config
}

func startTLSReplica(t *testing.T, edit func(*Config)) *tlsReplica {
	t.Helper()
	dir := t.TempDir()
	certificate, key := pairPEM(t)
	files := TLSConfig{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for name, text := range map[string][]byte{files.CertFile: certificate, files.KeyFile: key} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	r := startReplica(t, func(c *Config) {
		c.TLS = files
		if edit != nil {
			edit(c)
		}
	})
	return &tlsReplica{r, &tls.Config{RootCAs: roots, ServerName: "hub.example", MinVersion: tls.VersionTLS12}}
}

// dialTLS connects over wss as user; the session has been welcomed then.
func (r *tlsReplica) dialTLS(user string) *websocket.Conn {
	r.t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{"aldaba.v1"}, TLSClientConfig: r.trust}
	d.NetDialContext = narrow
	conn, got, err := d.DialContext(r.t.Context(), "wss://"+r.public.Addr().String()+"/ws", bearer(r.token(user)))
	if err != nil {
		r.t.Fatal(err)
	}
	_ = got.Body.Close()
	r.t.Cleanup(func() { _ = conn.Close() })
	if welcome := r.frame(conn); welcome["type"] != "welcome" {
		r.t.Fatalf("first frame is %v", welcome)
	}
	return conn
}

// narrow connects with a small receive buffer, so that a client that does not
// read is noticed soon.
func narrow(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetReadBuffer(32 << 10)
}

func (r *tlsReplica) publish(channel, data string) {
	r.t.Helper()
	if _, err := r.broker.Publish(r.t.Context(), channel, []byte(data), hub.PublishOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// closeCode reads on until the session ends.
func (r *tlsReplica) closeCode(conn *websocket.Conn) int {
	r.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	for {
		if _, _, err := conn.NextReader(); err != nil {
			closed, ok := errors.AsType[*websocket.CloseError](err)
			if !ok {
				r.t.Errorf("the session ended with %v", err)
				return 0
			}
			return closed.Code
		}
	}
}

func TestSessionOverTLS(t *testing.T) {
	r := startTLSReplica(t, nil)
	conn := r.dialTLS("anna")
	large := strings.Repeat("x", 60<<10) // takes several records
	for _, title := range []string{"hello", large} {
		r.publish("user:anna", `{"title":"`+title+`"}`)
		got := r.frame(conn)
		data, _ := got["data"].(map[string]any)
		if got["type"] != "message" || got["channel"] != "user:anna" || data["title"] != title {
			t.Errorf("got %.200v", got)
		}
	}
	if err := conn.WriteJSON(map[string]any{"type": "ping", "id": 7}); err != nil {
		t.Fatal(err)
	}
	if got := r.frame(conn); got["type"] != "pong" || got["id"] != float64(7) {
		t.Errorf("got %v", got)
	}
	r.ask() // a drain
	if code := r.closeCode(conn); code != 4001 {
		t.Errorf("closed with %d", code)
	}
	r.stop()
	if !strings.Contains(r.logs.String(), "msg=drained") {
		t.Errorf("the drain did not end in order:\n%s", r.logs)
	}
}

func TestClientsCloseOverTLSIsAnswered(t *testing.T) {
	r := startTLSReplica(t, nil)
	conn := r.dialTLS("anna")
	text := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := conn.WriteControl(websocket.CloseMessage, text, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if code := r.closeCode(conn); code != websocket.CloseNormalClosure {
		t.Errorf("answered with %d", code)
	}
	r.eventually("gone", func() bool { return r.hub.Sessions() == 0 })
}

// The frame of which this is about ends the hub's reading, and with it the session.
func TestTooLargeFrameOverTLSIsToldSo(t *testing.T) {
	r := startTLSReplica(t, nil)
	conn := r.dialTLS("anna")
	if err := conn.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("x"), 200<<10)); err != nil {
		t.Fatal(err)
	}
	if code := r.closeCode(conn); code != websocket.CloseMessageTooBig {
		t.Errorf("closed with %d", code)
	}
}

// A client that does not read is cut, hears why once it reads, and delays nobody.
func TestSlowClientOverTLSIsCut(t *testing.T) {
	r := startTLSReplica(t, func(c *Config) { c.Limits.Queue = c.Limits.Message })
	slow, quick := r.dialTLS("slow"), r.dialTLS("quick")
	data := `"` + strings.Repeat("x", 32<<10) + `"`
	r.eventually("cut", func() bool {
		r.publish("user:slow", data)
		r.publish("user:quick", `"tick"`)
		if got := r.frame(quick); got["data"] != "tick" {
			t.Fatalf("got %.200v", got)
		}
		return strings.Contains(r.get(r.admin, "/metrics").body, `aldaba_cuts_total{code="4002"} 1`)
	})
	if code := r.closeCode(slow); code != 4002 {
		t.Errorf("closed with %d", code)
	}
	r.eventually("gone", func() bool { return r.hub.Sessions() == 1 })
}

// listen begins a session of user's as Server-Sent Events over HTTP/2.
func (r *tlsReplica) listen(client http.RoundTripper, user string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "https://"+r.public.Addr().String()+"/sse", http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header = bearer(r.token(user))
	got, err := client.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = got.Body.Close() })
	if got.StatusCode != http.StatusOK || got.ProtoMajor != 2 {
		r.t.Fatalf("%s %s", got.Proto, got.Status)
	}
}

// A replica ends in time, and in order, whoever keeps its connections full.
func TestDrainWithAConnectionThatTakesNothing(t *testing.T) {
	r := startTLSReplica(t, nil)
	client := deaftest.New(t, r.trust)
	for range 2 { // whose windows together are more than the kernel buffers
		r.listen(client, "slow")
	}
	client.Deafen()
	data := `"` + strings.Repeat("x", 60<<10) + `"`
	r.eventually("cut", func() bool {
		r.publish("user:slow", data)
		return strings.Contains(r.get(r.admin, "/metrics").body, `aldaba_cuts_total{code="4002"} 2`)
	})
	r.ask()
	select {
	case <-r.done: // with no error: see startReplica
	case <-time.After(patience):
		t.Error("the program does not end")
	}
}

func TestRequestsOverTLS(t *testing.T) {
	r := startTLSReplica(t, nil)
	transport := &http.Transport{TLSClientConfig: r.trust, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	for path, status := range map[string]int{
		"/healthz":   http.StatusOK,
		"/aldaba.js": http.StatusOK,
		"/ws":        http.StatusUpgradeRequired, // a WebSocket takes HTTP/1.1
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+r.public.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if err != nil || got.StatusCode != status || got.ProtoMajor != 2 {
			t.Errorf("%s: %s %s %v", path, got.Proto, got.Status, err)
		}
		if path != "/ws" {
			continue
		}
		if upgrade := got.Header.Get("Upgrade"); upgrade != "" || !strings.Contains(string(body), `"code":"upgrade_required"`) {
			t.Errorf("%s: Upgrade is %q: %s", path, upgrade, body)
		}
	}
}

func TestHealthcheckOverTLS(t *testing.T) {
	r := startTLSReplica(t, nil)
	environ := []string{
		"ALDABA_LISTEN=" + r.public.Addr().String(),
		"ALDABA_TLS_CERT_FILE=" + r.config.TLS.CertFile,
		"ALDABA_TLS_KEY_FILE=" + r.config.TLS.KeyFile,
	}
	t.Chdir(t.TempDir())
	healthcheck := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"healthcheck"}, args...), &shell{in: strings.NewReader(""), out: &out, err: &errs, environ: environ})
		return code, errs.String()
	}
	if code, said := healthcheck(); code != exitDone {
		t.Errorf("%d: %s", code, said)
	}
	// Another address may be anybody's.
	if code, said := healthcheck("--url", "https://"+r.public.Addr().String()+"/healthz"); code == exitDone || !strings.Contains(said, "certificate") {
		t.Errorf("%d: %s", code, said)
	}
}
