//go:build !linux

package doctor

import (
	"errors"

	"secretstore/api/wire"
)

// Self returns nil: nothing is known.
func Self() *wire.HostReport { return nil }

// ThisMachine returns nil: nothing is known.
func ThisMachine() *Machine { return nil }

func freeBytes(string) (uint64, error) {
	return 0, errors.New("it is not known on this system")
}
