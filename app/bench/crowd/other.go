//go:build !linux

package crowd

import (
	"errors"
	"io"
)

// Sign returns a token for user as o asks for it.
type Sign func(o *Connect, user string, claims map[string]any) (string, error)

// Run says that it cannot.
func Run(io.Reader, io.Writer, Sign) error { return errors.New("a crowd needs Linux, for epoll") }
