package api

import (
	_ "embed"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"secretstore/api/internal/answer"
	"secretstore/api/wire"
)

// openAPI describes the HTTP API. Tests compare it with the table of endpoints.
//
//go:embed openapi.yaml
var openAPI []byte

// openAPIAsJSON is made when it is first asked for.
var openAPIAsJSON = sync.OnceValues(func() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPI, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return json.Marshal(doc, json.Deterministic(true))
})

// describe answers with the description of the API.
func (h *health) describe(*exchange) (answer.Reply, error) {
	doc, err := openAPIAsJSON()
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Reply{Status: http.StatusOK, ContentType: wire.TypeJSON, Body: doc}, nil
}
