//go:build !linux

package bench

import (
	"context"
	"errors"
)

// Run says that it cannot.
func Run(context.Context, Options) (Result, error) {
	return Result{}, errors.New("bench needs Linux: it waits for thousands of sockets with epoll, and reads /proc")
}
