package api

import (
	"net/http"

	"secretstore/acl"
	"secretstore/api/wire"
)

const (
	textServiceTwice     = "the service is named more than once: send either one X-Service-Id header or one query parameter service"
	textServiceElsewhere = "a service can only be named when a secret is read or changes are followed: leave out the X-Service-Id header and the query parameter service"
)

// namedService returns the service on whose behalf a request asks, and whether
// it names one at all: present but empty is the root service, which reads only
// secrets without a folder, so an unset variable in a scheduler never widens
// what is read.
func namedService(h http.Header, q query) (acl.Service, bool, error) {
	headers := h[wire.ServiceHeader]
	switch {
	case len(headers)+q.services > 1:
		return acl.Service{}, false, badRequest(textServiceTwice)
	case len(headers)+q.services == 0:
		return acl.Service{}, false, nil
	}
	id := q.service
	if len(headers) == 1 {
		id = headers[0]
	}
	svc, err := acl.ParseService(id)
	if err != nil {
		return acl.Service{}, false, badRequest(textInvalidService)
	}
	return svc, true, nil
}
