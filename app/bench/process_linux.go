package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that was started here.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	said   *tailBuffer // the end of what it wrote to stderr
}

// start starts cmd on those cores. It outlives neither the context of cmd nor this
// process, whatever ends that. (To be exact, the thread that started it: Go ends none.)
func start(name string, cores []int, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, exited: make(chan struct{}), said: &tailBuffer{}}
	cmd.Stderr = p.said
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := placed(cores, cmd.Start); err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is told by what it said
		close(p.exited)
	}()
	return p, nil
}

// kill ends p as a crash does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it is gone
	<-p.exited
}

// explain returns err, or why it came to that: a hub that was started here has ended.
func (r *replica) explain(err error) error {
	if err == nil || r.process == nil {
		return err
	}
	select {
	case <-r.process.exited:
		return r.process.end()
	case <-time.After(100 * time.Millisecond): // its connections end before it does
		return err
	}
}

// end is the error that p has ended.
func (p *process) end() error {
	said := cmp.Or(p.said.String(), "it said nothing")
	return fmt.Errorf("%s has ended (%s): %s", p.name, p.cmd.ProcessState, said)
}

// await asks again and again until answered returns nil, or p has ended.
func (p *process) await(ctx context.Context, answered func(context.Context) error) error {
	const most = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := answered(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.end()
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not answer: %s", p.name, p.said), err)
		case <-tick.C:
		}
	}
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - 4<<10; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// freeAddresses returns two addresses of loopback that nobody listens on at this moment:
// asked for one by one, they may be the same.
func freeAddresses(ctx context.Context) (one, other string, err error) {
	first, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = first.Close() }()
	second, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	return first.Addr().String(), second.Addr().String(), second.Close()
}

func dialable(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// ready asks a hub's /readyz.
func ready(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := get(ctx, "http://"+address+"/readyz")
		if err != nil {
			return fmt.Errorf("%w %s", err, body)
		}
		return nil
	}
}

var client = &http.Client{Timeout: 5 * time.Second}

func get(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return body, err
}

// goroutines reads a hub's metrics.
func goroutines(ctx context.Context, admin string) (n int) {
	if admin == "" {
		return 0
	}
	body, err := get(ctx, "http://"+admin+"/metrics")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(body) {
		if _, err := fmt.Sscanf(string(line), "go_goroutines %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// raiseFiles lets this process and those it starts open as many files as they may.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int(min(limit.Max, 1<<30)), nil
}

var errNoRedis = errors.New("there is no redis-server: install it, or point --url and --redis at a hub that runs")

func temporary(dir, name, text string) (string, error) {
	path := dir + "/" + name
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func hostOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
