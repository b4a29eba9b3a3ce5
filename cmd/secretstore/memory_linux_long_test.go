//go:build long

package main

import "testing"

func TestSealForgetsKeysWithRuntimeSecret(t *testing.T) {
	sealForgetsKeys(t, "GOEXPERIMENT=runtimesecret")
}
