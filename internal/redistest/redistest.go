// Package redistest starts a real redis-server for a test. Only tests import it.
package redistest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a server may take to listen, on a machine under load.
const patience = 20 * time.Second

// Server is a redis-server of the test's own, on a port of loopback that it
// keeps when it is started again. It holds no data across a Kill.
type Server struct {
	Port int

	t    testing.TB
	args []string
	dir  string
	cmd  *exec.Cmd
}

// Start starts a server that ends with the test. The arguments are added to
// redis-server's; a first one of "--sentinel" is followed by a file.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.Start()
	return s
}

// New is Start without starting it.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{Port: FreePort(t), t: t, args: args, dir: t.TempDir()}
	t.Cleanup(s.Kill)
	return s
}

// FreePort returns a port of loopback that nobody listens on at this moment. It is none
// of those that systems give to whoever asks for any: one of them could have it while its
// server is started again.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 16_000 + rand.IntN(16_000)                           //nolint:gosec // any will do
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)) //nolint:noctx // it does not wait
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port of a hundred is free")
	return 0
}

// Addr is where the server listens: 127.0.0.1 and its port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.Port) }

// URL is redis:// and Addr.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Start starts the server, again after a Kill, and waits until it listens.
func (s *Server) Start() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("this test needs the real thing: `make deps` installs redis-server")
	}
	s.cmd = exec.Command(path, s.arguments()...) //nolint:gosec,noctx // Kill ends it
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) { //nolint:forbidigo // between two looks
		c, err := net.Dial("tcp", s.Addr()) //nolint:noctx // loopback answers at once
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server does not listen on %s: %v", s.Addr(), err)
		}
	}
}

func (s *Server) arguments() []string {
	log := filepath.Join(s.dir, "redis.log")
	common := []string{"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--logfile", log}
	if len(s.args) > 0 && s.args[0] == "--sentinel" { // its file comes first
		return append([]string{s.args[1], "--sentinel"}, append(common, s.args[2:]...)...)
	}
	return append(append(common, "--dir", s.dir, "--save", "", "--appendonly", "no"), s.args...)
}

// Signal sends sig: SIGSTOP freezes the server, SIGCONT thaws it.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the server as a crash does. It may be called twice.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		s.t.Error(err)
	}
	s.cmd = nil
}

// Do sends one command and returns what go-redis makes of the answer.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		s.t.Fatal(args, err)
	}
	return v
}
