package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// devState is what the other verbs need to know of a running `aldaba dev`. It
// lies in the user's cache directory as long as the hub runs, in a file of its own:
// several may run.
type devState struct {
	PID    int    `json:"pid"`
	URL    string `json:"url"`
	Redis  string `json:"redis"`
	Secret string `json:"secret"`
}

func devStateDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "aldaba"), nil
}

// file is the name of the state's file within its directory.
func (s devState) file() string { return fmt.Sprintf("dev-%d.key", s.PID) }

// save writes the state for this user's eyes only. It is there wholly or not
// at all: another verb may be reading.
func (s devState) save() error {
	dir, err := devStateDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // the secret of one run, in a file of mode 0600, is what it is for
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, s.file()))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// remove takes the state away.
func (s devState) remove() {
	if dir, err := devStateDir(); err == nil {
		_ = os.Remove(filepath.Join(dir, s.file()))
	}
}

// runningDev returns the state of the `aldaba dev` that was started last of those
// that run now. It clears away what hubs left that were killed.
func runningDev() (newest devState, ok bool) {
	dir, err := devStateDir()
	if err != nil {
		return devState{}, false
	}
	names, _ := filepath.Glob(filepath.Join(dir, "dev-*.key")) // fails on a bad pattern only
	var since time.Time
	for _, name := range names {
		s, found := readDevState(name)
		if !found || !isAlive(s.PID) {
			_ = os.Remove(name)
			continue
		}
		if info, err := os.Stat(name); err == nil && info.ModTime().After(since) {
			newest, since, ok = s, info.ModTime(), true
		}
	}
	return newest, ok
}

func readDevState(name string) (s devState, ok bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return s, false
	}
	return s, json.Unmarshal(text, &s) == nil && s.Secret != ""
}

// isAlive reports whether there is a process pid: a hub that was killed leaves
// its state behind.
func isAlive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && pid > 0 && p.Signal(syscall.Signal(0)) == nil
}
