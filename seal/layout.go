package seal

import (
	"strings"

	"secretstore/store"
)

// The keys of the records, below the root of the storage. What stands in
// capitals is encrypted or a keyed hash (names.go): a dump of the storage shows
// counts, sizes and times, and no names.
//
//	keys/bootstrap_user.key           only with bootstrap: the private key
//	stores/default/config             configRecord, in the clear
//	stores/default/id/UUID            there while this store is: every write checks it
//	stores/default/root               envelope: the root key under the unseal key
//	stores/default/keyring            envelope: the keyring under the root key
//	stores/default/seal               the seal intent
//	stores/default/rekey              a rekey that its holders have not verified yet
//	stores/default/handover           envelope: the next root key under the last, for a minute
//	stores/default/rotation           how far the re-encryption has come
//	stores/default/secrets/XX/F       a folder: its encrypted path
//	stores/default/secrets/XX/F/N     a secret: envelope of its payload
//	stores/default/deleted/XX/F       like the folder of the same name under secrets
//	stores/default/deleted/XX/F/N     envelope: a deleted secret, and when it was deleted
//	stores/default/marks/XX           changes its version when a secret below secrets/XX is deleted
//	stores/default/blobs/ID           envelope: which secret the pieces belong to
//	stores/default/blobs/ID/NNNN      envelope: a piece of a large value
//	stores/default/tasks/MINUTE/ID    how often a task token was used, see task.go
//
// Two levels, however deep the paths: a create never makes or prunes a chain of
// parents, which is a race in stores that mirror paths.
const (
	keyBootstrap store.Key = "keys/bootstrap_user.key"
	keyConfig    store.Key = "stores/default/config"
	keyRoot      store.Key = "stores/default/root"
	keyKeyring   store.Key = "stores/default/keyring"
	keyIntent    store.Key = "stores/default/seal"
	keyIdentity  store.Key = "stores/default/id"
	keyRekey     store.Key = "stores/default/rekey"
	keyHandover  store.Key = "stores/default/handover"
	keyRotation  store.Key = "stores/default/rotation"
	keySecrets   store.Key = "stores/default/secrets"
	keyDeleted   store.Key = "stores/default/deleted"
	keyMarks     store.Key = "stores/default/marks"
	keyBlobs     store.Key = "stores/default/blobs"
)

// deletedKey returns where a secret, or a folder, is kept once it is deleted.
func deletedKey(key store.Key) store.Key { return keyDeleted + strings.TrimPrefix(key, keySecrets) }

// identityKey returns the key of the record that tells this store from another
// in its place: versions cannot, since on ZooKeeper those of a new store begin
// where the old ones did.
func identityKey(uuid string) store.Key { return keyIdentity + "/" + uuid }
