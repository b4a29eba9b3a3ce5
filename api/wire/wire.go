// Package wire holds the JSON documents and the names that the HTTP API and
// its clients share. It depends on the standard library alone, so that a
// client can import it without the server.
//
// It has no behavior.
package wire

import (
	"encoding/json"
	"time"
)

// The headers, parameters and cookies of the API.
const (
	// BasePath precedes all endpoints but the health ones.
	BasePath = "/secrets/v1"
	// ServiceHeader names the service on whose behalf a secret is read; the
	// query parameter ServiceParam means the same.
	ServiceHeader = "X-Service-Id"
	ServiceParam  = "service"
	// WatchParam is the ETag of the value that a client has while it waits for
	// another, for TimeoutParam at most. PrefixParam is the folder of a stream
	// of changes.
	WatchParam   = "watch"
	TimeoutParam = "timeout"
	PrefixParam  = "prefix"
	// UIDParam, ActionParam and PathParam say what an explanation is about, with
	// ServiceParam. BoundParam is the service to which the token is bound.
	UIDParam    = "uid"
	ActionParam = "action"
	PathParam   = "path"
	BoundParam  = "bound"
	// SearchParam is a part of the names that are searched for.
	SearchParam = "search"
	// DetailsParam asks for Details of the secrets in a page.
	DetailsParam = "details"
	// TokenCookie carries the token of a browser; it counts only without an
	// Authorization header.
	TokenCookie = "dcos-acs-auth-cookie"
	// VersionHeader is on the answer to a write: the version of the value that
	// was written or restored. Servers of older releases do not send it.
	VersionHeader = "Secretstore-Version"
	// RequiredPermissionHeader is on a 403 the permission that is missing: a
	// resource id, a space, and an action.
	RequiredPermissionHeader = "X-Required-Permission"
	// RequestIDHeader is on every answer; audit lines and log events carry
	// the same id.
	RequestIDHeader = "X-Request-Id"
	// TraceparentHeader names the trace that a request belongs to (W3C Trace
	// Context). The answer repeats a valid one; audit lines and log events carry
	// it.
	TraceparentHeader = "Traceparent"

	// TypeJSON and TypeBinary are the content types of a text and of a binary
	// secret. Clients compare the whole string, so they have no parameters.
	TypeJSON   = "application/json"
	TypeBinary = "application/octet-stream"
	// TypeBackup is the content type of a backup.
	TypeBackup = "application/vnd.secretstore.backup"
	// BackupFailed is what follows in place of the rest of a backup that failed
	// after a part was sent. Behind it are an Error as JSON and a line feed, and
	// then the connection ends.
	BackupFailed = "\nthe backup failed: "
	// TypeEvents is the content type of a stream of changes.
	TypeEvents = "text/event-stream"
)

// MaxListLimit is the largest page of a list.
const MaxListLimit = 10000

// Secret is the answer to GET for a text secret.
type Secret struct {
	Value       string   `json:"value"`
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	// Author is the uid that created the secret, Created when: RFC 3339, UTC.
	// The server sets both, and ignores what a client sends in them.
	Author  string `json:"author,omitempty"`
	Created string `json:"created,omitempty"`
}

// SecretWrite is the JSON body of PUT and PATCH for a text secret. Nil metadata
// stays unchanged.
type SecretWrite struct {
	Value       string    `json:"value"`
	Description *string   `json:"description,omitzero"` // nil: unchanged
	Labels      *[]string `json:"labels,omitzero"`      // nil: unchanged
}

// BinaryWrite is the JSON body of PUT and PATCH for a binary secret. Raw bytes do
// too, but they have no metadata.
type BinaryWrite struct {
	Value       []byte    `json:"value_base64"`
	Description *string   `json:"description,omitzero"` // nil: unchanged
	Labels      *[]string `json:"labels,omitzero"`      // nil: unchanged
}

// List is the answer to ?list=true and ?deleted=true.
type List struct {
	// Array holds names relative to the listed path, sorted bytewise; never
	// null on the wire.
	Array []string `json:"array"`
	// Next is the `after` of the following page; absent on the last.
	Next string `json:"next,omitempty"`
	// Incomplete: damaged records of the storage were skipped, which may be those
	// of secrets in this list.
	Incomplete bool `json:"incomplete,omitzero"`
	// Details are in the order of Array, with ?deleted=true&details=true. Null: the
	// caller may not read the secret, or it is damaged or has just gone.
	Details []*Detail `json:"details,omitempty"`
}

// MaxDetailsLimit is the largest page of a list with details.
const MaxDetailsLimit = 100

// Detail describes the newest version of a secret, without its value, to callers who
// may read it.
type Detail struct {
	Kind    string     `json:"kind"`    // as in Version
	Version uint64     `json:"version"` // as in Version
	Written *time.Time `json:"written"` // as in Version
	// Author created the secret, as in Secret.
	Author string `json:"author,omitempty"`
	// Deleted is when the secret was deleted, as in Versions.
	Deleted *time.Time `json:"deleted,omitempty"`
}

// Found is the answer to ?search=TEXT, which is a page of a list in any case.
type Found struct {
	Array      []string `json:"array"`               // as in List
	Next       string   `json:"next,omitempty"`      // as in List
	Incomplete bool     `json:"incomplete,omitzero"` // as in List
	// Matches is how many names contain the text, on all pages; Total how many were
	// searched: all below the path that lists show the caller.
	Matches int `json:"matches"`
	Total   int `json:"total"`
	// Details are as in List, with ?search=TEXT&details=true.
	Details []*Detail `json:"details,omitempty"`
}

// Children is the answer to ?children=true.
type Children struct {
	// Array holds the entries sorted bytewise by name; never null on the wire.
	Array      []Child `json:"array"`
	Next       string  `json:"next,omitempty"`      // as in List
	Incomplete bool    `json:"incomplete,omitzero"` // as in List
	// Total is how many secrets are below the path, on all pages and however deep.
	Total int `json:"total"`
	// Details are as in List, with ?children=true&details=true. Those of folders are
	// null.
	Details []*Detail `json:"details,omitempty"`
}

// Child is an entry of a folder: a secret, or a folder below it, whose name ends in
// a slash. A secret and a folder may have the same name.
type Child struct {
	Name string `json:"name"`
	// Secrets is how many secrets the folder has, however deep; absent for a secret.
	Secrets int `json:"secrets,omitzero"`
}

// Backend describes one store.
type Backend struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Driver      string `json:"driver"`
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	// UUID identifies the store, for clients that pin it; absent before init.
	UUID string `json:"uuid,omitempty"`
	// Development marks a store of "secretstore server --dev", which may be
	// thrown away; absent otherwise.
	Development bool `json:"development,omitzero"`
}

// Backends is the answer to GET /store.
type Backends struct {
	Array []Backend `json:"array"`
}

// Nodes is the answer to GET /nodes: the servers of the store, as described in
// the storage by themselves, or by others in their name. Nothing in it is
// verified. A client shows it to people and never connects to an address in it:
// an attacker who can write to the storage could collect shares and tokens
// there.
type Nodes struct {
	Array []Node `json:"array"` // never null on the wire
	// Ignored is the number of malformed entries.
	Ignored int `json:"ignored,omitzero"`
}

// Node is one server, as described in the storage.
type Node struct {
	ID      string    `json:"id"` // of its process
	Name    string    `json:"name"`
	Listen  []string  `json:"listen"` // the addresses of its configuration
	Version string    `json:"version"`
	State   string    `json:"state"` // unsealed, sealed, uninitialized, damaged, unknown
	Since   time.Time `json:"since"` // of State
	// Self marks the server that answers.
	Self bool `json:"self"`
}

// AuditLog is the answer to GET /audit.
type AuditLog struct {
	// File is the path of the log on the machine of the server; "-" is standard
	// output, and "" means that none is written.
	File string `json:"file"`
	// Lines are the last ones, at most 1,000, the newest first; never null on the
	// wire. Each is an object as in the file.
	Lines []json.RawMessage `json:"lines"`
	// Changes are the endpoints that change something, as lines name them; those of
	// servers of earlier releases are not known.
	Changes []string `json:"changes,omitempty"`
}

// SealStatus is the answer to GET /seal-status, and to the requests that change
// it.
type SealStatus struct {
	Sealed    bool `json:"sealed"`
	Threshold int  `json:"threshold"`
	Shares    int  `json:"shares"`
	// Progress is the number of different shares entered so far.
	Progress int `json:"progress"`
	// UUID is as in Backend.
	UUID string `json:"uuid,omitempty"`
	// CreatingBootstrapKey is true while the server makes the key of a new store.
	CreatingBootstrapKey bool `json:"creating_bootstrap_key,omitzero"`
	// Warnings are for operators (a policy file that could not be read again, a
	// damaged storage); only superusers get them.
	Warnings []string `json:"warnings,omitempty"`
	// Server is about the server that answers; only superusers get it. Servers of
	// earlier releases do not send it.
	Server *ServerReport `json:"server,omitempty"`
}

// ServerReport is what a server says about itself. Times are in UTC, to the second;
// they are absent if they are not known.
type ServerReport struct {
	Version string    `json:"version,omitempty"`
	State   string    `json:"state"`          // as in Node
	Since   time.Time `json:"since,omitzero"` // of State
	// SecurityMode is disabled, permissive or strict.
	SecurityMode string `json:"security_mode,omitempty"`
	// SealedBy is the uid of the user who sealed the store by hand, and SealedAt
	// when. They are in the storage, and not verified.
	SealedBy string    `json:"sealed_by,omitempty"`
	SealedAt time.Time `json:"sealed_at,omitzero"`
	// Restored is when the backup was made that the store was restored from; absent
	// if it never was, or while it is sealed.
	Restored time.Time `json:"restored,omitzero"`
	// AutoUnseal: the server has a bootstrap key, so that PUT /auto-unseal works.
	AutoUnseal bool `json:"auto_unseal"`
	// Storage is one of the constants below, and StorageSince since when it does
	// not answer.
	Storage      string    `json:"storage"`
	StorageSince time.Time `json:"storage_since,omitzero"`
	// CertificateExpires is the end of the TLS certificate; absent without one.
	CertificateExpires time.Time `json:"certificate_expires,omitzero"`
	// Faults keep the server from doing its work. Their texts are among the
	// warnings too.
	Faults []Fault `json:"faults,omitempty"`
	// Host is about the process of the server and its machine; absent if nothing
	// is known about them.
	Host *HostReport `json:"host,omitempty"`
}

// HostReport is about the process of a server, and the machine that it runs on.
type HostReport struct {
	// UserID is the number of the user that the process runs as.
	UserID int `json:"user_id"`
	// Dumpable: other processes of that user can read the memory of the process.
	Dumpable bool `json:"dumpable"`
	// CoreLimit is the largest core file that the kernel may write of the process,
	// in bytes; -1 is any size.
	CoreLimit int64 `json:"core_limit"`
	// Swap is one of the constants below, and Swapped how many bytes of the process
	// are in swap space now.
	Swap    string `json:"swap"`
	Swapped int64  `json:"swapped"`
	// Time is the clock of the machine.
	Time time.Time `json:"time"`
	// StorageClock compares it with that of the storage; absent if there is no
	// other clock, or no comparison yet.
	StorageClock *ClockDifference `json:"storage_clock,omitempty"`
}

// ClockDifference compares the clock of a server with another one.
type ClockDifference struct {
	// Ahead is by how many seconds the server's clock is ahead at least; negative
	// if it is behind, and 0 if no difference could be told.
	Ahead float64   `json:"ahead"`
	At    time.Time `json:"at"` // when they were compared
}

// Where memory of the server may be swapped out to.
const (
	SwapNone      = "none"      // there is no swap space on a disk, or the server may not use it
	SwapEncrypted = "encrypted" // only to devices that are encrypted
	SwapPlain     = "plain"
	SwapUnknown   = "unknown"
)

// The states of the storage.
const (
	StorageUp          = "up"
	StorageUnreachable = "unreachable"
	StorageFull        = "full"      // reads work
	StorageReadOnly    = "read-only" // reads work
)

// Fault is one thing that is wrong with a server.
type Fault struct {
	Kind string `json:"kind"` // one of the constants below, or a later one
	Text string `json:"text"` // for people
}

// The kinds of faults.
const (
	FaultStorage  = "storage"  // it does not answer, or takes no writes
	FaultDisk     = "disk"     // full: that of the storage or of the audit log
	FaultAudit    = "audit"    // the audit log cannot be written
	FaultRotation = "rotation" // it is stuck
	FaultMode     = "mode"     // the security mode is lower than the store remembers
	FaultRestore  = "restore"  // what the store was restored from cannot be trusted
)

// BootstrapConfig is the answer to GET /dcos-metadata/bootstrap-config.json.
type BootstrapConfig struct {
	Security string `json:"security"` // disabled, permissive or strict
}

// InitRequest is the body of PUT /init.
type InitRequest struct {
	Shares    int `json:"shares"`
	Threshold int `json:"threshold"`
	// PGPKeys are base64 of binary or armored public keys, one for each
	// share; white space anywhere is ignored.
	PGPKeys []string `json:"pgp_keys"`
	// Replace replaces a recent init; it is the first of the keys in its
	// answer. Only the same principal can do so, on the same server, within 15
	// minutes, and while nobody has unsealed the store.
	Replace string `json:"replace,omitempty"`
}

// InitInfo is the answer to GET /init.
type InitInfo struct {
	Initialized  bool     `json:"initialized"`
	Keys         []string `json:"keys"`             // lower-case hex of an OpenPGP message
	Fingerprints []string `json:"pgp_fingerprints"` // lower-case hex, primary key
	RootToken    string   `json:"root_token"`       // always empty
}

// InitResult is the answer to PUT /init: InitInfo without `initialized`.
type InitResult struct {
	Keys         []string `json:"keys"`
	Fingerprints []string `json:"pgp_fingerprints"`
	RootToken    string   `json:"root_token"`
}

// UnsealRequest is the body of PUT /unseal: exactly one of its members.
type UnsealRequest struct {
	// Key is the unseal key or one share of it, as gpg prints it.
	Key Share `json:"key,omitzero"`
	// Reset forgets the shares entered so far.
	Reset bool `json:"reset,omitzero"`
}

// KeyRequest is the body of PUT /auto-unseal, which may be missing.
type KeyRequest struct {
	Key string `json:"key"` // an encrypted key of InitInfo
}

// Error is the body of each answer that is not a success.
type Error struct {
	Title       string `json:"title"`       // "404 Not Found"
	Description string `json:"description"` // what to do next
	// Code classifies the errors of the IAM: ERR_UNKNOWN_USER_ID and others.
	Code string `json:"code,omitempty"`
}

// TaskTokenRequest is the body of POST /task-token.
type TaskTokenRequest struct {
	// Service is the id of the service whose tasks the token is for.
	Service string `json:"service"`
	// TTL is how long the token lives, as in "90s" or "2h"; "" is 60s.
	TTL string `json:"ttl,omitempty"`
	// Uses is how often it can be used, on all servers together: 0 is any
	// number of times while it lives, nil is once.
	Uses *int `json:"uses,omitempty"`
}

// TaskToken is the answer to POST /task-token.
type TaskToken struct {
	Token   string `json:"token"`
	Service string `json:"service"`
	// Expires is when the token is refused: RFC 3339, UTC.
	Expires string `json:"expires"`
	Uses    int    `json:"uses"`
}
