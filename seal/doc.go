// Package seal keeps the secrets of one store behind a barrier: a value goes in
// as bytes and reaches the storage only as AES-256-GCM ciphertext, and only
// while the keyring is in memory. Sealing drops the keyring; unsealing needs
// the unseal key, which exists outside this process only as an OpenPGP message
// for its holder.
//
// It decides nothing about permissions (package acl) and knows no HTTP (package
// api). It is the only caller of package store besides the wiring.
//
// The keys, outermost first:
//
//	unseal key   32 bytes; wrapped with OpenPGP; forgotten once used
//	root key     encrypted under the unseal key; in memory while unsealed
//	keyring      encrypted under the root key: name keys and one data key for each term
//	record key   derived for each record from the data key of its term
//
// This package is a thin face: it opens a Store, documents the errors, and has
// the types of the packages that do the work. Each of those has one subject,
// and imports only packages above it in this list:
//
//	internal/handover       a new root key, encrypted to the other unsealed servers
//	internal/barrier        the keyring, record keys, where a path is stored, commits
//	internal/bootstrapkey   where the bootstrap private key is kept
//	internal/holders        who holds the unseal key, and the shares they enter
//	internal/mode           the security modes, and the record of one
//	internal/restored       which backup a store was restored from
//	internal/lifecycle      init, unseal, seal intent, rekey, handover
//	internal/records        secrets, versions, deleted secrets, pieces, expiry
//	internal/names          folders, their decrypted names, lists
//	internal/feed           watches and streams
//	internal/identities     records of users, groups and permissions
//	internal/rotation       encrypting all records again under a new data key
//	internal/uses           how often a task token was used
//	internal/backup         the format of backups, making and restoring them
//
// docs/architecture.md says where another kind of data goes.
package seal
