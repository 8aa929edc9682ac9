package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (Makefile, Dockerfile).
var version string

// build says what this program was made from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

type versionCmd struct {
	JSON bool `name:"json" help:"Print an object."`
}

// Help is shown by --help.
func (versionCmd) Help() string {
	return `For a report, or to see what a container runs.

    aldaba version --json`
}

func (c *versionCmd) Run(sh *shell) error {
	b := thisBuild()
	if c.JSON {
		return json.NewEncoder(sh.out).Encode(b)
	}
	text := "aldaba " + b.Version
	if b.Revision != "" {
		text += " (" + b.Revision[:min(12, len(b.Revision))] + ")"
	}
	_, err := fmt.Fprintln(sh.out, text, b.Go)
	return err
}
