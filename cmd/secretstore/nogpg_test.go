//go:build zookeeper && !gpg

package main

import "testing"

func gpgTests() map[string]func(t *testing.T, zookeeper string) {
	return map[string]func(*testing.T, string){}
}
