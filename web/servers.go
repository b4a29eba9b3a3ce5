package web

import "secretstore/api/wire"

// serversPage is the data of the page about the servers of the store.
type serversPage struct {
	Nodes wire.Nodes
	// Own is what the server that answers knows of itself; nil if it may not tell.
	Own *wire.ServerReport
}

func showServers(v *visit) error {
	nodes, err := v.api.Nodes(v.ctx())
	if err != nil {
		return err
	}
	status, err := v.api.SealStatus(v.ctx())
	if err != nil {
		return err
	}
	return v.show("servers", serversPage{nodes, status.Server})
}
