// Package backup makes and reads backups: files with the ciphertext of everything
// behind the barrier, as it was at one moment. They contain no key that is not
// encrypted, unless the bootstrap key is asked for, and are as safe as a copy of
// the storage.
//
// A backup is
//
//	magic | frames | manifest | SHA-256 of all before | MAC of that
//
// A frame is a record, or says that an earlier one of the same key is gone; of
// several frames of a key the last counts, because records that change while they
// are read are read again. The hash finds damage without a key. The MAC, under a
// key derived from the root key, shows that a server of the store has made it.
//
// The records are those of the storage, but for two: the keyring says that it is of
// a backup, so that a restored store is known as one to anybody who unseals it, and
// the identities have no records of last use.
package backup
