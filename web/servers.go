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

// server is a row of the table.
type server struct {
	wire.Node
	Shared bool // another server has the name: its ID tells them apart
}

// Rows returns the rows of the table.
func (p serversPage) Rows() []server {
	named := make(map[string]int)
	for _, n := range p.Nodes.Array {
		named[n.Name]++
	}
	rows := make([]server, 0, len(p.Nodes.Array))
	for _, n := range p.Nodes.Array {
		rows = append(rows, server{n, named[n.Name] > 1})
	}
	return rows
}

// Shares says which storage all servers of the table share; "" if it is not known.
func (p serversPage) Shares() string {
	kind := p.Store.Driver
	if kind == "zookeeper" {
		kind = "ZooKeeper"
	}
	if kind == "" || p.Own == nil {
		return ""
	}
	return "They share one storage, " + kind + ". Seen from this server, it is " + p.Own.Storage + "."
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
