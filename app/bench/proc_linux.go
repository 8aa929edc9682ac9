package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what the operating system says of a process.
type usage struct {
	cpu   time.Duration // user and system, since it began
	rss   int64         // bytes
	files int           // 0: unknown, they are another user's
}

// clockTick is the unit of /proc/PID/stat (proc_pid_stat(5)): a hundredth of a second
// on Linux, whatever the kernel's own.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return usage{}, fmt.Errorf("there is no process %d", pid)
	}
	if err != nil {
		return usage{}, err
	}
	u, err := parseStat(stat)
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		u.files = len(files)
	}
	return u, err
}

// parseStat reads the text of /proc/PID/stat.
func parseStat(stat []byte) (usage, error) {
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system, rss = 11, 12, 21 // of fields, counted from 0
	if len(fields) <= rss {
		return usage{}, fmt.Errorf("/proc/PID/stat has %d fields", len(fields))
	}
	var n [3]int64
	for i, f := range []int{user, system, rss} {
		var err error
		if n[i], err = strconv.ParseInt(fields[f], 10, 64); err != nil {
			return usage{}, err
		}
	}
	return usage{cpu: time.Duration(n[0]+n[1]) * clockTick, rss: n[2] * int64(os.Getpagesize())}, nil
}

// nice is the priority of all that is started here, where the system allows it: what
// else goes on on the machine is not what is measured.
const nice = -15

// placed runs f, which starts a process, so that the process has those cores only and
// goes before others.
func placed(cores []int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // a child inherits from the thread that starts it
	if unix.Setpriority(unix.PRIO_PROCESS, 0, nice) == nil {
		defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) }()
	}
	if cores == nil {
		return f()
	}
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for _, c := range cores {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	started := f()
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		return err
	}
	return started
}

// cores returns the cores of the hub and those of everybody else, or nil for any.
func cores(pin bool) (hub, others []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, nil, err
	}
	if !pin || set.Count() < 2 {
		return nil, nil, nil
	}
	for c := range 1024 {
		switch {
		case !set.IsSet(c):
		case hub == nil:
			hub = []int{c}
		default:
			others = append(others, c)
		}
	}
	return hub, others, nil
}
