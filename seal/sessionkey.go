package seal

import (
	"secretstore/seal/internal/barrier"
)

// sessionLabel derives the key of sessions from the data key of a term. When the term
// is removed from the keyring, or the store restored, its sessions end.
const sessionLabel = "secretstore web sessions"

// SessionKey returns the key that encrypts the sessions of people, which all servers
// derive from the data key of a term, and that term; 0 asks for the newest. ErrSealed,
// ErrTaskTerm.
func (s *Store) SessionKey(term uint32) (key [32]byte, of uint32, err error) {
	err = s.barrier.Use(func(k *barrier.Keys) error {
		of = term
		if of == 0 {
			of = k.Ring.Active
		}
		data := k.Ring.Terms[of]
		if data == nil {
			return ErrTaskTerm
		}
		derived := data.Derive(k.Ring.Incarnation.Label(sessionLabel), len(key))
		defer clear(derived)
		copy(key[:], derived)
		return nil
	})
	return key, of, err
}
