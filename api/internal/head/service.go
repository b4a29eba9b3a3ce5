package head

import (
	"net/http"

	"secretstore/acl"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
)

const textServiceTwice = "the service is named more than once: send either one X-Service-Id header or one query parameter service"

// Service returns the service that the request names, and whether it names one.
// Present but empty is the root service, which reads only secrets without a
// folder: an unset variable in a scheduler never gives it more to read.
func Service(h http.Header, q Query) (acl.Service, bool, error) {
	headers := h[wire.ServiceHeader]
	switch {
	case len(headers)+q.Service.Times > 1:
		return acl.Service{}, false, problem.BadRequest(textServiceTwice)
	case len(headers)+q.Service.Times == 0:
		return acl.Service{}, false, nil
	}
	id := q.Service.Value
	if len(headers) == 1 {
		id = headers[0]
	}
	svc, err := acl.ParseService(id)
	if err != nil {
		return acl.Service{}, false, problem.BadRequest(problem.InvalidService)
	}
	return svc, true, nil
}
