package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// devState is what the other verbs need to know of a running `aldaba dev`. It
// lies in the user's cache directory as long as the hub runs.
type devState struct {
	PID    int    `json:"pid"`
	URL    string `json:"url"`
	Redis  string `json:"redis"`
	Secret string `json:"secret"`
}

func devStateFile() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "aldaba", "dev.key"), nil
}

// save writes the state for this user's eyes only. It is there wholly or not
// at all: another verb may be reading.
func (s devState) save() error {
	name, err := devStateFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // the secret of one run, in a file of mode 0600, is what it is for
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "dev.key-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// remove takes the state away, unless it is another hub's by now.
func (s devState) remove() {
	name, err := devStateFile()
	if err != nil {
		return
	}
	if now, ok := readDevState(name); ok && now == s {
		_ = os.Remove(name)
	}
}

// runningDev returns the state of the `aldaba dev` that runs now, if one does.
func runningDev() (devState, bool) {
	name, err := devStateFile()
	if err != nil {
		return devState{}, false
	}
	s, ok := readDevState(name)
	return s, ok && isAlive(s.PID)
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
