package web

import (
	"os"

	"secretstore/api/wire"
)

// serversPage is the data of the page about the servers of the store.
type serversPage struct {
	Nodes wire.Nodes
	// Own is what the server that answers knows of itself; nil if it may not tell.
	Own   *wire.ServerReport
	Name  string // of its machine
	Store wire.Backend
}

func showServers(v *visit) (err error) {
	var p serversPage
	if p.Nodes, err = v.api.Nodes(v.ctx()); err != nil {
		return err
	}
	status, err := v.api.SealStatus(v.ctx())
	if err != nil {
		return err
	}
	if p.Store, err = v.api.Status(v.ctx()); err != nil {
		return err
	}
	p.Own = status.Server
	p.Name = hostName()
	return v.show("servers", p)
}

// hostName returns the name of the machine; "" if it is not known.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
