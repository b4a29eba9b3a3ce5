package api

import (
	"errors"
	"net/http"
	"net/netip"

	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/rates"
	"secretstore/internal/clientnet"
)

// failureRate is how many requests a second of one address may fail to
// authenticate.
const failureRate = 100

const (
	textManyFailures = "too many requests without a valid token from this address: try again in a moment, with a valid one"
	textManyRequests = "too many requests by this user: try again in a moment (the server runs with --request-rate)"
)

// limits are the rates of requests. A request that is over one is a 429.
type limits struct {
	failures *rates.Limit[netip.Prefix]
	requests *rates.Limit[pool.Principal] // nil: none
}

func newLimits(requestRate int) (l *limits, err error) {
	l = &limits{}
	if l.failures, err = rates.New[netip.Prefix](failureRate, failureRate); err != nil {
		return nil, err
	}
	if requestRate > 0 {
		l.requests, err = rates.New[pool.Principal](float64(requestRate), requestRate)
	}
	return l, err
}

// stranger counts a request that failed to authenticate with err. Others of the
// same address are not touched: it may be that of a proxy.
func (l *limits) stranger(x *exchange, err error) error {
	var refused *problem.Problem
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || l.failures.Allow(clientnet.Parse(x.req.remote)) {
		return err
	}
	return problem.TooMany(textManyFailures)
}

// request counts a request of a principal. Sealing is the emergency brake, and
// is not limited.
func (l *limits) request(x *exchange) error {
	if l.requests == nil || x.req.ep.brake || l.requests.Allow(pool.Of(x.who.principal)) {
		return nil
	}
	return problem.TooMany(textManyRequests)
}
