// Command aldaba is a realtime hub: whatever a backend publishes to Redis
// reaches exactly those sessions whose tokens authorize its channel.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // the first asks to finish
		<-signals
		os.Exit(1) // the second does not wait for that
	}()
	code := run(ctx, os.Args[1:], &shell{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(),
	})
	cancel()
	os.Exit(code)
}

// shell is the world that a verb runs in.
type shell struct {
	in       io.Reader
	out, err io.Writer
	environ  []string // NAME=value
}
