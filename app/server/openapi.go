package server

import (
	_ "embed" // for the description below
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed openapi.yaml
var openapiText []byte

// openapi serves the API's description. There is nothing secret in it.
func openapi(c *gin.Context) {
	c.Data(http.StatusOK, "application/yaml", openapiText) // RFC 9512
}
