package server

import (
	"log/slog"
	"net/http/pprof"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (s *Server) metrics() gin.HandlerFunc {
	return gin.WrapH(promhttp.HandlerFor(s.options.Metrics, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		MaxRequestsInFlight: 4,
	}))
}

// profileWait is how long an answer at the operator's address may take: a profile is
// taken over the seconds that are asked for.
const profileWait = 2 * time.Minute

// profiles are what `go tool pprof` reads of a running hub.
func profiles(r gin.IRoutes) {
	r.GET("/", gin.WrapF(pprof.Index))
	r.GET("/profile", gin.WrapF(pprof.Profile))
	r.GET("/trace", gin.WrapF(pprof.Trace))
	for _, name := range []string{"allocs", "goroutine", "heap"} {
		r.GET("/"+name, gin.WrapH(pprof.Handler(name)))
	}
}
