package server

import (
	"net"

	"secretstore/api"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/seal"
)

// httpsSite returns where clients that came by plain HTTP find HTTPS.
func httpsSite(cfg config.Config, endpoints []*endpoint) api.Site {
	for _, e := range endpoints {
		if addr, ok := e.listener.Addr().(*net.TCPAddr); ok && e.scheme == "https" {
			return api.Site{Host: cfg.PublicHost, Port: addr.AddrPort().Port()}
		}
	}
	return api.Site{}
}

// unfit returns the problem with which a server ends whose security mode is lower
// than the one that its store remembers, or nil. That is only certain once an unseal
// has opened the root key: before, anybody who can write to the storage could keep
// the server from starting.
func unfit(st *seal.Store) error {
	select {
	case <-st.Unfit():
		return config.Error{{Where: "--security-mode", What: st.Status().ModeProblem}}
	default:
		return nil
	}
}
