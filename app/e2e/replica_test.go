package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/internal/redistest"
)

const secret = "the end-to-end tests sign with this secret"

// object is a JSON object: a frame, a token's claims, a part of the configuration.
type object = map[string]any

// patterns are one of each kind.
var patterns = []object{
	{"name": "user:{sub}"},
	{"name": "room:{rooms}", "publish": true},
	{"name": "org:{org.id}:news"},
	{"name": "team:{teams}", "join": "on-request"},
	{"name": "room:*", "join": "on-request", "if": `"roles" in claims && "admin" in claims.roles`},
	{"name": "broadcast"},
}

// replica is one `aldaba serve`.
type replica struct {
	t       testing.TB
	cmd     *exec.Cmd
	public  string // host:port
	admin   string // host:port
	exited  chan struct{}
	exit    error // once exited
	mu      sync.Mutex
	logs    strings.Builder
	serving chan struct{} // closed when it has said where
	asked   bool          // to end
	hurried bool          // asked twice, which it tells by its status
}

type binary func() (string, error)

// serve starts a replica on redis and waits until it is ready. extra replaces
// keys of the configuration.
func serve(t testing.TB, program binary, redis *redistest.Server, extra object) *replica {
	t.Helper()
	r := start(t, program, redis, extra)
	eventually(t, "ready", func() bool { return r.ready() })
	return r
}

// start is serve without the wait for readiness.
func start(t testing.TB, program binary, redis *redistest.Server, extra object) *replica {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	config := object{
		"listen":       "127.0.0.1:0",
		"admin_listen": "127.0.0.1:0",
		"redis":        object{"url": redis.URL()},
		"auth":         object{"leeway": "0s", "issuers": []object{{"algorithm": "HS256", "secret": secret}}},
		"channels":     patterns,
		"limits":       object{"sessions_per_address": 20000, "frames_per_second": 1000, "connects_per_second": 5000},
		"drain":        object{"delay": "0s", "spread": "0s"},
		"log":          object{"level": "info", "format": "json"},
	}
	maps.Copy(config, extra)
	file := filepath.Join(t.TempDir(), "config.yaml")
	text, err := json.Marshal(config) // JSON is YAML
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, exited: make(chan struct{}), serving: make(chan struct{})}
	r.cmd = exec.Command(path, "serve", "--config", file) // stop ends it
	stderr, err := r.cmd.StderrPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go r.watch(stderr)
	t.Cleanup(r.stop)
	select {
	case <-r.serving:
	case <-r.exited:
		t.Fatalf("it ended: %v\n%s", r.exit, r.log())
	case <-time.After(patience):
		t.Fatalf("it does not serve:\n%s", r.log())
	}
	return r
}

// watch keeps what the replica logs, and waits for its end.
func (r *replica) watch(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r.mu.Lock()
		r.logs.WriteString(lines.Text() + "\n")
		r.mu.Unlock()
		var line struct {
			Msg, Address string
			Admin        string `json:"admin_address"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			r.public, r.admin = line.Address, line.Admin
			close(r.serving)
		}
	}
	r.exit = r.cmd.Wait()
	close(r.exited)
}

func (r *replica) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs.String()
}

// terminate asks the replica to end, and does not wait.
func (r *replica) terminate() {
	r.t.Helper()
	r.asked = true
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
}

// stop asks the replica to end unless it has been asked, waits for that, and
// holds it to have ended well.
func (r *replica) stop() {
	r.t.Helper()
	if !r.asked {
		r.terminate()
	}
	select {
	case <-r.exited:
	case <-time.After(patience):
		_ = r.cmd.Process.Kill()
		<-r.exited
		r.t.Error("it did not end by itself")
	}
	if r.exit != nil && !r.hurried {
		r.t.Errorf("it ended with %v", r.exit)
	}
	if logs := r.log(); r.t.Failed() || strings.Contains(logs, "panic") {
		r.t.Errorf("it logged:\n%s", logs)
	}
}

// status asks for a path of host and returns the status, or 0 without an answer.
func (r *replica) status(host, path string) int {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + host + path) // the client has a time-out
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func (r *replica) ready() bool { return r.status(r.public, "/readyz") == http.StatusOK }

// metric returns the sum of all series whose line begins with name.
func (r *replica) metric(name string) float64 {
	r.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + r.admin + "/metrics") // the client has a time-out
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	sum := 0.0
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || !strings.ContainsAny(rest[:1], " {") {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			r.t.Fatal(err)
		}
		sum += value
	}
	if err := lines.Err(); err != nil {
		r.t.Fatal(err)
	}
	return sum
}

// rss is the resident memory of the process in bytes, as the kernel counts it.
func (r *replica) rss() int {
	r.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		r.t.Fatal(err)
	}
	return kilobytes << 10
}

// token signs claims for a user; it lives for an hour unless they say otherwise.
func token(t testing.TB, user string, claims object) string {
	t.Helper()
	all := object{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	signed, err := auth.Sign(auth.Issuer{Algorithm: "HS256", Secret: secret}, all)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
