package lifecycle

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"secretstore/seal/envelope"
)

// intent is the seal intent: whether the operators want the store sealed or
// unsealed. It outlives restarts and reaches every server. Anyone who can write
// to the storage can seal the store; only with the root key can one make a
// record that unseals.
type intent struct {
	Format int  `json:"format"`
	Sealed bool `json:"sealed"`
	// Seal is the random id of the last seal. An unsealed record names the seal
	// that it ended: keys that were opened under another one are dropped, even if
	// the store has been unsealed since, because that seal was meant for them too.
	// Ids are only compared for equality: there is no counter to exhaust or to
	// wind back.
	Seal string `json:"seal"`
	MAC  string `json:"mac,omitempty"`
	// By is the uid of the user who sealed the store, and At when. They are in
	// sealed records only, decide nothing, and may be anybody's text.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

const intentFormat = 1

func sealedIntent(seal string) intent {
	return intent{Format: intentFormat, Sealed: true, Seal: seal}
}

// sealedByHand returns a new intent to be sealed, which says who wants it.
func sealedByHand(o sealOrder) intent {
	in := sealedIntent(newNonce())
	in.By, in.At = o.by, o.at
	return in
}

// sealOrder is a seal by hand.
type sealOrder struct {
	by string // uid
	at time.Time
}

// maxSealer is the longest uid that an intent names, in bytes.
const maxSealer = 256

// order returns who sealed the store by hand; nothing if the record does not say
// so, or not in words that can be shown.
func (in intent) order() sealOrder {
	if !in.Sealed || len(in.By) > maxSealer || !utf8.ValidString(in.By) || strings.ContainsFunc(in.By, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return sealOrder{}
	}
	return sealOrder{by: in.By, at: in.At}
}

func unsealedIntent(seal, store string, root *envelope.Key) intent {
	in := intent{Format: intentFormat, Seal: seal}
	in.MAC = hex.EncodeToString(in.mac(store, root))
	return in
}

func (in intent) mac(store string, root *envelope.Key) []byte {
	mac := hmac.New(sha256.New, root.Derive("secretstore seal intent", sha256.Size))
	mac.Write([]byte("unsealed\x00" + store + "\x00" + in.Seal))
	return mac.Sum(nil)
}

func (in intent) encode() []byte {
	data, err := json.Marshal(in)
	if err != nil {
		panic("internal error: intent does not encode") // unreachable: plain fields
	}
	return data
}

// parseIntent reads the record. Anything but a well-formed unsealed record
// counts as sealed.
func parseIntent(data []byte) intent {
	var in intent
	if err := json.Unmarshal(data, &in); err != nil || in.Format != intentFormat || len(in.Seal) > 64 {
		return sealedIntent("")
	}
	return in
}

// unsealedUnder reports whether the record is a genuine intent to be unsealed.
func (in intent) unsealedUnder(store string, root *envelope.Key) bool {
	if in.Sealed || in.Format != intentFormat {
		return false
	}
	got, err := hex.DecodeString(in.MAC)
	return err == nil && hmac.Equal(got, in.mac(store, root))
}

// endedSeals remembers the seals that this server has seen replaced by later
// ones: a record that names one of them is an old one that was put back. The
// zero value is empty.
type endedSeals struct {
	ids   map[string]bool
	order []string
}

// maxEndedSeals bounds the memory; a store is sealed a few times a year.
const maxEndedSeals = 4096

func (e *endedSeals) add(id string) {
	if id == "" || e.ids[id] {
		return
	}
	if e.ids == nil {
		e.ids = make(map[string]bool)
	}
	if len(e.order) == maxEndedSeals {
		delete(e.ids, e.order[0])
		e.order = e.order[1:]
	}
	e.ids[id] = true
	e.order = append(e.order, id)
}

// newNonce returns a random id, in hex.
func newNonce() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}
