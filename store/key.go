package store

import (
	"errors"
	"fmt"
	"strings"
)

// The limits of a Key, in bytes. A component is bounded because it is the name of a
// znode, of which a listing may have many; the whole key, because every request
// repeats it.
const (
	MaxComponent = 400
	MaxKey       = 1024
)

// ErrInvalidKey: the key breaks the rules stated at Key. This program builds all
// keys, so it is a programming error, never a user's.
var ErrInvalidKey = errors.New("invalid record key")

// ValidKey returns nil if key follows the rules stated at Key, otherwise an error
// that matches ErrInvalidKey. The empty key (the root, which only Children accepts)
// is not valid here.
//
// The alphabet is the same for all backends, although some would accept more: a
// component that is "..", or contains a "/" or a NUL, must never reach a storage
// where it has another meaning.
func ValidKey(key Key) error {
	if key == "" {
		return fmt.Errorf("%w: empty", ErrInvalidKey)
	}
	if len(key) > MaxKey {
		return fmt.Errorf("%w: longer than %d bytes", ErrInvalidKey, MaxKey)
	}
	for from := 0; from <= len(key); {
		end := strings.IndexByte(key[from:], '/')
		if end < 0 {
			end = len(key) - from
		}
		if err := validComponent(key[from : from+end]); err != nil {
			return err
		}
		from += end + 1
	}
	return nil
}

func validComponent(c string) error {
	switch {
	case c == "":
		return fmt.Errorf("%w: empty component", ErrInvalidKey)
	case c == "." || c == "..":
		return fmt.Errorf("%w: component %q", ErrInvalidKey, c)
	case len(c) > MaxComponent:
		return fmt.Errorf("%w: component longer than %d bytes", ErrInvalidKey, MaxComponent)
	}
	for i := range len(c) {
		if !keyBytes[c[i]] {
			return fmt.Errorf("%w: byte %#02x", ErrInvalidKey, c[i])
		}
	}
	return nil
}

// keyBytes are the bytes of a component.
var keyBytes = func() (ok [256]bool) {
	for _, b := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") {
		ok[b] = true
	}
	return ok
}()
