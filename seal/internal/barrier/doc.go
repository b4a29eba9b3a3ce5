// Package barrier holds the keys of an unsealed store in memory, and does
// everything that encrypts or decrypts with them: where a path is stored, which
// record key a record has, and on which conditions a write counts.
//
// Sealing drops the keys. Whatever uses them runs inside Barrier.Use, and Drop
// waits for it: once Drop has returned, nothing is decrypted any more.
//
// All kinds of data behind the barrier share this package; docs/architecture.md says
// where a new kind goes. The package knows no life cycle: who may unseal, and when a
// server has to seal, is decided in package lifecycle, which installs the keys
// here.
package barrier
