package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// TestMain lets the scripts run this very binary as aldaba, and proves that the
// tests leave no goroutine behind.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"aldaba": main})
}

type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	for deadline := time.Now().Add(patience); code == 0; {
		err := goleak.Find() // retries by itself
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// TestScripts runs testdata/script: each verb, its errors and its exit codes, as
// a user meets them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("TZ", "UTC")
			e.Setenv("SECRET", "a-secret-of-more-than-32-bytes-for-scripts")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  codeCmd,
			"await": awaitCmd,
			"redis": redisCmd,
			"numpat": func(ts *testscript.TestScript, _ bool, args []string) {
				awaitRedis(ts, args[0], "PUBSUB NUMPAT", ":2") // of plain names, and of what is recorded
			},
			"resp": respCmd,
			"busy": busyCmd,
		},
	})
}

// codeCmd is `code N aldaba …`: the program must end with exactly N.
func codeCmd(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("ended with %d, not %s", code, args[0])
	}
}

// awaitCmd is `await FILE REGEXP`: it waits until the file says so.
func awaitCmd(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile(args[1])
	var text []byte
	awaitTrue(ts, func() bool {
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		return re.Match(text)
	}, func() string { return fmt.Sprintf("%s never said %s:\n%s", args[0], re, text) })
}

// redisCmd starts a real Redis and puts its URL into $REDIS.
func redisCmd(ts *testscript.TestScript, _ bool, _ []string) {
	address := freeAddress(ts)
	_, port, err := net.SplitHostPort(address)
	ts.Check(err)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ts.Setenv("REDIS", "redis://"+address)
	awaitRedis(ts, "redis://"+address, "PING", "+PONG")
}

// respCmd is `resp URL COMMAND…`: what any Redis client might send.
func respCmd(ts *testscript.TestScript, _ bool, args []string) {
	answer, err := askRedis(args[0], args[1:]...)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), answer)
}

// busyCmd takes a port for as long as the script runs, and puts it into $BUSY.
func busyCmd(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("BUSY", l.Addr().String())
}

func awaitRedis(ts *testscript.TestScript, url, command, want string) {
	var answer string
	awaitTrue(ts, func() bool {
		answer, _ = askRedis(url, strings.Fields(command)...)
		return answer == want
	}, func() string { return fmt.Sprintf("%s: %s answers %q, not %q", url, command, answer, want) })
}

// askRedis sends one command and returns the first line of the answer.
func askRedis(url string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(url, "redis://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	fmt.Fprintf(conn, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(a), a)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// awaitTrue asks again and again until done says true.
func awaitTrue(ts *testscript.TestScript, done func() bool, complaint func() string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("%s", complaint())
		}
	}
}

func freeAddress(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}
