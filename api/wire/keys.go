package wire

import "time"

// RekeyRequest is the body of PUT /rekey.
type RekeyRequest struct {
	Shares    int      `json:"shares"`
	Threshold int      `json:"threshold"`
	PGPKeys   []string `json:"pgp_keys"` // as in InitRequest, of the new holders
	// Current are shares of the present unseal key, as gpg prints them, if it has
	// several holders. With fewer than its threshold, the others have to approve
	// the rekey: see RekeyShare.
	Current []Share `json:"current,omitempty"`
	// Rotate also makes a new root key and rotates all records.
	Rotate bool `json:"rotate,omitzero"`
	// LeaveOut lets live servers seal that a new root key does not reach; without
	// it they are a 409.
	LeaveOut bool `json:"leave_out,omitzero"`
}

// Rekey is the state of a rekey: the answer to GET and PUT /rekey, and to PUT
// /rekey/{store}/current and /verify. If none is under way, GET answers with
// Active alone. After the verify that put the new key in force, Active is false
// and the rest describes the finished rekey.
type Rekey struct {
	Nonce        string   `json:"nonce"` // names this rekey
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`             // as in InitInfo, for the new holders; empty before the approval
	Fingerprints []string `json:"pgp_fingerprints"` // as in InitInfo
	Rotate       bool     `json:"rotate"`
	// Started is in UTC, to the second.
	Started  time.Time `json:"started"`
	Progress int       `json:"progress"` // shares verified so far
	Active   bool      `json:"active"`
	// Phase is "approval" while present holders have to approve the rekey,
	// "verification" while new ones have to verify their shares, and then "done".
	Phase string `json:"phase"`
	// Approvals is how many approvals this server has, and ApprovalsRequired how
	// many it takes; both are 0 after the approval.
	Approvals         int `json:"approvals"`
	ApprovalsRequired int `json:"approvals_required"`
	// Holders are the new holders, and Missing those, present or new, who have not
	// done here what the phase asks of them.
	Holders []HolderName `json:"holders"`
	Missing []HolderName `json:"missing"`
	// Entered are those who have, and EnteredUntil is when this server forgets
	// what they entered. Older servers leave both out.
	Entered      []HolderName `json:"entered,omitempty"`
	EnteredUntil time.Time    `json:"entered_until,omitzero"`
	// Recipients are the servers that the new root key reaches, and LeftOut those
	// that seal: in the answer that starts a rekey with a rotation, and in the one
	// that puts it in force.
	Recipients []Peer `json:"recipients,omitempty"`
	LeftOut    []Peer `json:"left_out,omitempty"`
}

// Recipients is the answer to GET /rekey/{store}/recipients: the live servers, by
// what a new root key would mean to them. All are empty where no other server can
// have the storage.
type Recipients struct {
	Recipients []Peer `json:"recipients"` // it reaches them
	LeftOut    []Peer `json:"left_out"`   // they would seal
	Sealed     []Peer `json:"sealed"`     // they are unsealed with the new unseal key
}

// Peer is a live server of the store. Its name is verified only among the
// recipients.
type Peer struct {
	ID      string `json:"id"`   // as in Node
	Name    string `json:"name"` // of the host, with its addresses
	Self    bool   `json:"self,omitzero"`
	Problem string `json:"problem,omitempty"` // why it is left out
}

// NoRekey is the answer to GET /rekey if none is under way.
type NoRekey struct {
	Active bool `json:"active"` // always false
}

// RekeyShare is the body of PUT /rekey/{store}/current, with a share of the
// present unseal key, and of PUT /rekey/{store}/verify, with one of the new.
type RekeyShare struct {
	Nonce string `json:"nonce"`
	Key   Share  `json:"key"` // as gpg prints it
}

// RekeyCancel is the body of DELETE /rekey, unless the nonce is in the query.
type RekeyCancel struct {
	// Nonce names the rekey. An empty one removes only a record that does not
	// authenticate, and therefore has no nonce.
	Nonce *string `json:"nonce"`
}

// Rotation is the answer to GET and PUT /rotate.
type Rotation struct {
	Term  uint32 `json:"term"`          // of the data key of new writes
	Total int64  `json:"records_total"` // seen by the present sweep
	Done  int64  `json:"records_done"`  // of them, under Term
	// Counting: the records are not counted yet, and Total and Done not known.
	Counting bool   `json:"counting,omitzero"`
	State    string `json:"state"`            // "idle", "running", "verifying" or "stuck"
	Reason   string `json:"reason,omitempty"` // why it is stuck, for people
	Terms    int    `json:"terms"`            // how many data keys there are
	// Damaged is the number of records that no key opens, and DamagedRecord
	// names one of them. The older data keys are kept while there are any.
	Damaged       int64  `json:"records_damaged,omitzero"`
	DamagedRecord string `json:"damaged_record,omitempty"`
}

// Keys is the answer to GET /keys.
type Keys struct {
	Holders   []KeyHolder `json:"holders"` // never null on the wire
	Shares    int         `json:"shares"`
	Threshold int         `json:"threshold"`
	// BootstrapKeyHeld: the storage holds a private key that unseals.
	BootstrapKeyHeld bool `json:"bootstrap_key_held"`
	// ConfigWarning is why the members above cannot be trusted, and no rekey
	// is possible; absent if they can, or while that cannot be checked.
	ConfigWarning string `json:"config_warning,omitempty"`
	// Sealed: the members below are unknown, and false or 0.
	Sealed        bool  `json:"sealed"`
	RekeyUnderWay bool  `json:"rekey_under_way"`
	Terms         int   `json:"terms"`       // data keys
	OldRecords    int64 `json:"records_old"` // not yet under the newest
	// Counting, RotationState and RotationReason are as in Rotation: while
	// Counting, OldRecords is not known.
	Counting       bool   `json:"counting,omitzero"`
	RotationState  string `json:"rotation_state,omitempty"`
	RotationReason string `json:"rotation_reason,omitempty"`
	// Damaged is the number of records that are skipped because they cannot be
	// read or do not open, as far as lists and rotations have met them.
	// DamagedRecord names one of them, and DamagedRecords some.
	Damaged        int64           `json:"records_damaged,omitzero"`
	DamagedRecord  string          `json:"damaged_record,omitempty"`
	DamagedRecords []DamagedRecord `json:"damaged_records,omitempty"`
	// Foreign is the number of names in the storage that no record can have. They
	// have no effect.
	Foreign int `json:"foreign_names,omitzero"`
}

// DamagedRecord is one record that is skipped.
type DamagedRecord struct {
	Record string `json:"record"` // its key in the storage
	Reason string `json:"reason"`
}

// HolderName names a holder.
type HolderName struct {
	Fingerprint string `json:"fingerprint"` // as in KeyHolder
	UserID      string `json:"user_id"`
}

// KeyHolder is one holder of the unseal key.
type KeyHolder struct {
	Fingerprint string `json:"fingerprint"` // lower-case hex, primary key
	// UserID is in the key itself, and is not verified. "" if there is none.
	UserID    string `json:"user_id"`
	Algorithm string `json:"algorithm"` // of the key that encrypts, such as "RSA 4096"
	// Expires is when the key stops taking new messages; null is never. It still
	// opens older ones.
	Expires *time.Time `json:"expires"`
	// Warning is about a key that expires soon or has expired; "" if there is
	// none.
	Warning string `json:"warning"`
	// Problem is why a new unseal key cannot be encrypted to this holder; "" if
	// it can.
	Problem string `json:"problem"`
}
