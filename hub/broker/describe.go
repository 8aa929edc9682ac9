package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// describe says what an error of the connection means to an operator.
func describe(err error) string {
	var answer redis.Error
	var network net.Error
	switch {
	case errors.As(err, &answer):
		return answer.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "no answer in time"
	}
	return err.Error()
}

// libraryLog takes what go-redis logs, once for all clients of the process,
// down to debug: this package says itself what an operator needs to know.
type libraryLog struct{ to atomic.Pointer[slog.Logger] }

var library libraryLog

func init() { redis.SetLogger(&library) }

func adoptLibraryLog(l *slog.Logger) { library.to.Store(l) }

// Printf implements go-redis' logger.
func (l *libraryLog) Printf(ctx context.Context, format string, v ...any) {
	if log := l.to.Load(); log != nil && log.Enabled(ctx, slog.LevelDebug) {
		log.DebugContext(ctx, "go-redis: "+fmt.Sprintf(format, v...))
	}
}
