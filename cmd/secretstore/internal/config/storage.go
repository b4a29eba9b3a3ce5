package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// StorageKind is the kind of a storage. The zero value is invalid.
type StorageKind string

// The kinds of storage, named as in the URL.
const (
	Bolt      StorageKind = "bolt"
	ZooKeeper StorageKind = "zk"
	Memory    StorageKind = "memory"
)

// Storage is a parsed --storage.
type Storage struct {
	Kind    StorageKind
	Path    string   // of the bbolt file
	Servers []string // host:port of each ZooKeeper server
	Root    string   // znode under which everything is kept
	// Doubt says why Root is not what somebody meant, and what to write instead;
	// "" if it may be. A store that is there already is served, but none is made.
	Doubt string
}

const (
	defaultZKPort = "2181"
	defaultZKRoot = "/dcos/secrets"
	maxZKRoot     = 200 // as in package zk: it is part of every request
)

// ParseStorage reads bolt:PATH, zk://H1:P1,H2:P2/ROOT or memory: (or memory, for
// YAML does not take a colon at the end of a line).
func ParseStorage(s string) (Storage, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch StorageKind(kind) {
	case Bolt:
		path, err := parseText(rest)
		if path == "" || err != nil || strings.HasPrefix(path, "//") {
			return Storage{}, errors.New("bolt needs the path of a file: bolt:secretstore.db or bolt:/var/lib/secretstore/secrets.db")
		}
		return Storage{Kind: Bolt, Path: path}, nil
	case Memory:
		if rest != "" {
			return Storage{}, errors.New("write memory: with nothing after it")
		}
		return Storage{Kind: Memory}, nil
	case ZooKeeper:
		return parseZooKeeper(rest)
	}
	// The error does not repeat the text, which may be a URL with a password.
	return Storage{}, errors.New("is not a storage; write memory:, bolt:PATH or zk://HOST:PORT,HOST:PORT/ROOT")
}

func parseZooKeeper(rest string) (Storage, error) {
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return Storage{}, errors.New("write zk://HOST:PORT,HOST:PORT/ROOT")
	}
	hosts, root, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return Storage{}, errors.New("must not contain credentials; put user:password into a file for --zk-auth-file")
	}
	out := Storage{Kind: ZooKeeper, Root: defaultZKRoot}
	var errs []error
	for host := range strings.SplitSeq(hosts, ",") {
		server, err := parseServer(host)
		errs = append(errs, err)
		out.Servers = append(out.Servers, server)
	}
	if root = strings.Trim(root, "/"); root != "" {
		path, err := parseZnode("/" + root)
		if err == nil && len(path) > maxZKRoot {
			err = fmt.Errorf("the root znode is longer than %d bytes", maxZKRoot)
		}
		errs = append(errs, err)
		out.Root, out.Doubt = path, doubt(hosts, path)
	}
	if err := errors.Join(errs...); err != nil {
		return Storage{}, err
	}
	return out, nil
}

// doubt finds what is a path for ZooKeeper, but hardly meant as one: ROOT after every
// server, options of other programs (?chroot=/a), and the like.
func doubt(hosts, root string) string {
	odd := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./~+", r)
	}
	if !strings.ContainsFunc(root, odd) {
		return ""
	}
	first, more, several := strings.Cut(root, ",")
	for server := range strings.SplitSeq(more, ",") {
		server, again, _ := strings.Cut(server, "/")
		_, err := parseServer(server)
		several = several && err == nil && (again == "" || "/"+again == first)
		hosts += "," + server
	}
	if several && !strings.ContainsFunc(first, odd) {
		return "ROOT is written once, after the last server: zk://" + hosts + first
	}
	return "write ROOT as a path of letters, digits and _-.~+, after the last server: zk://HOST:PORT,HOST:PORT/ROOT"
}

func parseServer(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port, err = net.SplitHostPort(s + ":" + defaultZKPort)
	}
	if err != nil || host == "" || strings.ContainsAny(host, " \t\x00") {
		return "", fmt.Errorf("%q is not a ZooKeeper server; write host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is not a ZooKeeper server: its port is not a number from 1 to 65535", s)
	}
	return net.JoinHostPort(host, port), nil
}

// parseZnode checks an absolute znode path as ZooKeeper does. The znode /zookeeper
// belongs to ZooKeeper itself.
func parseZnode(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	parts := strings.Split(s, "/")
	if parts[0] != "" || len(s) > 1024 {
		return "", fmt.Errorf("%q is not a znode; write an absolute path such as /dcos/secrets", s)
	}
	for _, part := range parts[1:] {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, oddInZnode) {
			return "", fmt.Errorf("%q is not a znode path", s)
		}
	}
	if parts[1] == "zookeeper" {
		return "", errors.New("/zookeeper belongs to ZooKeeper itself; choose another znode")
	}
	return s, nil
}

// oddInZnode reports characters other than printable ASCII. ZooKeeper permits more, but
// they are hard to type in zkCli.sh.
func oddInZnode(r rune) bool { return r <= ' ' || r > '~' }
