package bench

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const after = " S 1 1 1 0 -1 4194304 5 0 0 0 250 50 0 0 20 0 9 0 100 99999 7 18446744073709551615"
	for _, name := range []string{"aldaba", "a b", ") S 1 (", "("} {
		u, err := parseStat([]byte("4711 (" + name + ")" + after))
		if err != nil || u.cpu != 3*time.Second || u.rss != int64(7*os.Getpagesize()) {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
	for _, bad := range []string{"", "4711 (aldaba", "4711 (aldaba) S 1 1", "4711 (a)" + strings.Replace(after, "250", "x", 1)} {
		if u, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	if u, err := usageOf(os.Getpid()); err != nil || u.rss == 0 || u.files == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	const none = 1 << 30 // more than there can be
	if _, err := usageOf(none); err == nil || err.Error() != "there is no process 1073741824" {
		t.Error(err)
	}
}

func TestHubThatEndsIsSaid(t *testing.T) {
	t.Parallel()
	p, err := start("the hub", nil, exec.CommandContext(t.Context(), "sh", "-c", "echo out of memory >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	r := &replica{process: p}
	if err := r.explain(os.ErrNotExist); err == nil || err.Error() != "the hub has ended (exit status 3): out of memory" {
		t.Error(err)
	}
	if err := r.explain(nil); err != nil {
		t.Error(err)
	}
}

// Without a terminal, a long run says once a minute how far it is.
func TestProgressWithoutTerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := &run{stage: &stage{options: &Options{Progress: &b}}, title: "mixed, run 1 of 1", told: time.Now().Add(-time.Minute)}
	for range 3 {
		r.tell("%d deliveries a second", 7)
	}
	r.tell("")
	if b.String() != "mixed, run 1 of 1: 7 deliveries a second\n" {
		t.Errorf("%q", &b)
	}
}

func TestProgressIsOfAllGenerators(t *testing.T) {
	t.Parallel()
	c := &crew{crowds: []*generator{{}, {}}}
	c.crowds[0].heard.Store(3)
	c.crowds[1].heard.Store(4)
	if c.heard() != 7 {
		t.Error(c.heard())
	}
}
