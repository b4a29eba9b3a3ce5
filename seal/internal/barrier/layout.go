package barrier

import (
	"strings"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// The keys of the records, below the root of the storage. Parts in capitals are
// encrypted or a keyed hash (locate.go): a dump of the storage shows counts,
// sizes and times, but no names.
//
//	keys/bootstrap_user.key           only with bootstrap: the private key
//	stores/default/config             the configuration, in the clear
//	stores/default/id/UUID            exists as long as this store: every write checks it
//	stores/default/root               envelope: the root key under the unseal key
//	stores/default/keyring            envelope: the keyring under the root key
//	stores/default/seal               the seal intent
//	stores/default/mode               the security mode that the store remembers
//	stores/default/proposal           a rekey that the present holders have not approved yet
//	stores/default/rekey              a rekey that its new holders have not verified yet
//	stores/default/handover           envelope: the next root key for the other unsealed servers, for a minute
//	stores/default/rotation           the progress of the re-encryption
//	stores/default/secrets/XX/F       a folder: its encrypted path
//	stores/default/secrets/XX/F/N     a secret: envelope of its payload
//	stores/default/deleted/XX/F       like the folder of the same name under secrets
//	stores/default/deleted/XX/F/N     envelope: a deleted secret, and when it was deleted
//	stores/default/marks/XX           delete generation: a new version for each delete below secrets/XX
//	stores/default/blobs/ID           envelope: which secret the pieces belong to
//	stores/default/blobs/ID/NNNN      envelope: a piece of a large value
//	stores/default/iam                the head of the identities, see package identities
//	stores/default/iam/XX             the index of a bucket
//	stores/default/iam/XX/R           envelope: a user, a group or another record of the identities
//	stores/default/tasks/MINUTE/ID    how often a task token was used, see package uses
//	stores/default/restoring          while a backup is being restored: which one
//	stores/default/restored           until the first unseal of a restored store, see package restored
//
// There are two levels below secrets, however deep the paths: so a create never
// makes a chain of parents, and a delete never prunes one, which is a race in
// stores that mirror paths.
const (
	KeyBootstrap   store.Key = "keys/bootstrap_user.key"
	KeyConfig      store.Key = "stores/default/config"
	KeyRoot        store.Key = "stores/default/root"
	KeyKeyring     store.Key = "stores/default/keyring"
	KeyIntent      store.Key = "stores/default/seal"
	KeyIdentity    store.Key = "stores/default/id"
	KeyMode        store.Key = "stores/default/mode"
	KeyProposal    store.Key = "stores/default/proposal"
	KeyRekey       store.Key = "stores/default/rekey"
	KeyHandover    store.Key = "stores/default/handover"
	KeyRotation    store.Key = "stores/default/rotation"
	KeySecrets     store.Key = "stores/default/secrets"
	KeyDeleted     store.Key = "stores/default/deleted"
	KeyGenerations store.Key = "stores/default/marks"
	KeyBlobs       store.Key = "stores/default/blobs"
	KeyTasks       store.Key = "stores/default/tasks"
	KeyIAM         store.Key = "stores/default/iam"
	KeyRestoring   store.Key = "stores/default/restoring"
	KeyRestored    store.Key = "stores/default/restored"
)

// DeletedKey returns where a secret, or a folder of secrets, is kept once it is
// deleted.
func DeletedKey(key store.Key) store.Key { return KeyDeleted + strings.TrimPrefix(key, KeySecrets) }

// IdentityKey returns the key of the record that distinguishes this store from
// another in its place. Versions cannot: on ZooKeeper those of a new store
// start where the old ones did.
func IdentityKey(uuid string) store.Key { return KeyIdentity + "/" + uuid }

// The places that bind each kind of record to where it belongs; see
// envelope.Place.

// SecretPlace is the place of a secret.
func (k *Keys) SecretPlace(p acl.Path) envelope.Place {
	return envelope.Place{Store: k.UUID, Kind: envelope.KindSecret, Path: p.String()}
}

// DeletedPlace is the place of a deleted secret. It is bound to its key instead
// of its path, so that it opens without the path, also when its folder is gone.
func (k *Keys) DeletedPlace(key store.Key) envelope.Place {
	return envelope.Place{Store: k.UUID, Kind: envelope.KindDeleted, Path: key}
}

// BlobPlace is the place of the head of a value in pieces.
func (k *Keys) BlobPlace(key store.Key) envelope.Place {
	return envelope.Place{Store: k.UUID, Kind: envelope.KindBlob, Path: key}
}

// PiecePlace is the place of piece i of count of a value of the secret at p.
func (k *Keys) PiecePlace(p acl.Path, i, count uint32) envelope.Place {
	return envelope.Place{Store: k.UUID, Kind: envelope.KindPiece, Path: p.String(), Piece: i, Pieces: count}
}

// IAMPlace is the place of a record of the identities. It is bound to its key.
func (k *Keys) IAMPlace(key store.Key) envelope.Place {
	return envelope.Place{Store: k.UUID, Kind: envelope.KindIAM, Path: key}
}
