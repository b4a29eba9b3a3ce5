// Package identities keeps the records of users, groups and permissions behind the
// barrier, and all of them in the memory of each unsealed server. It does not know
// what they say: package iam does.
//
//	stores/default/iam          the head: a digest of each index; MAC under the root key
//	stores/default/iam/XX       the index of a bucket: which records it has, in the clear
//	stores/default/iam/XX/R     envelope: a record; R is a keyed hash of its name, XX its first byte
//
// Each record has a random id, which its envelope authenticates. The index has the
// ids of all records of its bucket, and the head a digest of each index. So one
// genuine head says of every record whether it is the one that was written last.
// The sweep of a rotation encrypts a record again without a new id: neither index nor
// head changes.
//
// A change is one transaction: the records, the indexes of their buckets, and the
// head, each at the version that was read. So all changes of all servers have one
// order, which the head counts. The head and an index are never removed, so that
// their versions never start again; those of records do, and decide nothing alone.
//
// A server that has loaded the records does not go back. What is older than what it
// knows is damage, and so is what is missing; the newer state stays in its memory.
// If a genuine head says that there is a newer record, which cannot be read, the
// older one does not count any more: it might have rights that were taken away.
package identities
