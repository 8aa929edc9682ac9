package server

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// readiness is what /readyz answers.
type readiness struct {
	Status  string   `json:"status"` // "ready" or "not ready"
	Reasons []string `json:"reasons,omitempty"`
}

// readyz says whether new sessions should be sent here.
func (s *Server) readyz(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	reasons := s.notReady()
	if len(reasons) > 0 {
		c.JSON(http.StatusServiceUnavailable, readiness{"not ready", reasons})
		return
	}
	c.JSON(http.StatusOK, readiness{Status: "ready"})
}

func (s *Server) notReady() []string {
	var reasons []string
	if s.draining.Load() {
		reasons = append(reasons, "this replica is about to stop")
	}
	if err := s.options.Ready(); err != nil {
		reasons = append(reasons, err.Error())
	}
	return reasons
}
