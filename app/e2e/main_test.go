// Package e2e proves the promises on the program itself: a real redis-server,
// replicas as processes of their own, real clients. What one process alone can
// show is tested where its code is.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// binaries is where the program is built, once for each way.
var binaries string

func TestMain(m *testing.M) {
	if url := os.Getenv(callerVariable); url != "" {
		if err := serveCaller(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "aldaba-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	redis.SetLogger(silence{}) // outages are what these tests are about
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// checked is the program with the race detector, which ends it with status 66;
// plain is the one that users run, for tests that look at memory and latency.
var (
	checked = sync.OnceValues(func() (string, error) { return build("checked", "-race") })
	plain   = sync.OnceValues(func() (string, error) { return build("plain") })
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binaries, name)
	args := append(append([]string{"build", "-o", path}, flags...), "aldaba/app")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil { // our own arguments
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(d)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", d, what)
		case <-tick.C:
		}
	}
}
