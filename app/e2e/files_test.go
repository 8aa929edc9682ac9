package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/redis/go-redis/v9"
)

// fewFiles is how many descriptors the replica below may have: the hub and Redis
// take about a third of them.
const fewFiles = 64

// limited is program with fewFiles. It sets the hard limit too, to which Go raises
// the soft one.
func limited(t *testing.T, program binary) binary {
	t.Helper()
	return func() (string, error) {
		path, err := program()
		if err != nil {
			return "", err
		}
		script := filepath.Join(t.TempDir(), "limited")
		text := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", fewFiles, path)
		return script, os.WriteFile(script, []byte(text), 0o700)
	}
}

// files is how many descriptors the process has.
func (r *replica) files() int {
	r.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(all)
}

// cpu is how long the process has run on a processor (proc_pid_stat(5), utime and
// stime, of which Linux counts 100 in a second).
func (r *replica) cpu() time.Duration {
	r.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // after the name; the third field is the first here
	fields := strings.Fields(rest)
	ticks := 0
	for _, field := range fields[14-3 : 15-3+1] {
		n, err := strconv.Atoi(field)
		if err != nil {
			r.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// fill opens connections that say nothing, more than the replica may accept; the
// kernel queues the rest. The returned function closes them.
func (r *replica) fill() (hangUp func()) {
	r.t.Helper()
	var all []net.Conn
	hangUp = func() {
		for _, conn := range all {
			_ = conn.Close()
		}
	}
	r.t.Cleanup(hangUp)
	for range fewFiles {
		conn, err := net.DialTimeout("tcp", r.public, patience)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, conn)
	}
	return hangUp
}

// TestFilesExhausted has idle connections take every descriptor: who is connected
// hears on, nothing spins, the operator is told, and afterwards all is as before.
// What is said here is over before the hub cuts the idle ones, after ten seconds.
func TestFilesExhausted(t *testing.T) {
	server := redistest.Start(t)
	r := serve(t, limited(t, plain), server, nil)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	publish := func(data string) {
		if err := client.Publish(context.Background(), "user:anna", data).Err(); err != nil {
			t.Fatal(err)
		}
	}
	isMessage := func(data string) func(object) bool {
		return func(f object) bool { return f["type"] == "message" && fmt.Sprint(f["data"]) == data }
	}
	anna := r.login("anna", nil)
	publish("1")
	anna.await("a message", isMessage("1"))
	before := r.files()

	hangUp := r.fill()
	t.Logf("%d descriptors before", before)
	begin := time.Now()
	const told = `"level":"WARN","msg":"cannot accept connections"`
	eventually(t, "the operator is told", func() bool { return strings.Contains(r.log(), told) })
	if n := r.files(); n < fewFiles { // more, if it was given one beyond the limit
		t.Errorf("it has %d descriptors", n)
	}
	spent := r.cpu()
	for n := range 10 { // for a second
		data := strconv.Itoa(10 + n)
		publish(data)
		anna.await("a message while there are no descriptors", isMessage(data))
		<-time.After(100 * time.Millisecond)
	}
	spent = r.cpu() - spent
	t.Logf("it was busy for %v in a second", spent)
	if spent > 250*time.Millisecond {
		t.Errorf("it was busy for %v", spent)
	}
	if n := r.files(); n < fewFiles {
		t.Errorf("it has %d descriptors at the end, after %v", n, time.Since(begin))
	}
	if lines := strings.Count(r.log(), told); lines > 1+int(time.Since(begin)/time.Second) || !strings.Contains(r.log(), "too many open files") {
		t.Errorf("it is told %d times:\n%s", lines, r.log())
	}

	hangUp()
	ben := r.login("ben", nil)
	ben.close()
	eventually(t, fmt.Sprintf("%d descriptors, as before", before), func() bool { return r.files() <= before })
	publish("100")
	anna.await("a message afterwards", isMessage("100"))
}
