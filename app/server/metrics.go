package server

import (
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// newRequests counts by route and status, of which there are few, never by what a
// client chose.
func newRequests() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "aldaba_api_requests_total", Help: "Requests to the HTTP API, by route and status.",
	}, []string{"route", "status"})
}

func (s *Server) countAPI(c *gin.Context) {
	c.Next()
	if isAPI(c) {
		s.requests.WithLabelValues(routeOf(c), strconv.Itoa(c.Writer.Status())).Inc()
	}
}
